package taskstate

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Creds are a process's credentials.
type Creds struct {
	UIDs   [4]int `cbor:"1,keyasint" json:"uids"` // real, effective, saved, filesystem
	GIDs   [4]int `cbor:"2,keyasint" json:"gids"`
	Groups []int  `cbor:"3,keyasint,omitempty" json:"groups,omitempty"`

	Inheritable uint64 `cbor:"4,keyasint,omitempty" json:"cap_inheritable,omitempty"`
	Permitted   uint64 `cbor:"5,keyasint,omitempty" json:"cap_permitted,omitempty"`
	Effective   uint64 `cbor:"6,keyasint,omitempty" json:"cap_effective,omitempty"`
	Bounding    uint64 `cbor:"7,keyasint,omitempty" json:"cap_bounding,omitempty"`
	Ambient     uint64 `cbor:"8,keyasint,omitempty" json:"cap_ambient,omitempty"`
	SecureBits  int64  `cbor:"9,keyasint,omitempty" json:"securebits,omitempty"`
}

// CredsOf takes the credentials out of a status file.
func CredsOf(st *procfs.Status) Creds {
	return Creds{
		UIDs: st.UIDs, GIDs: st.GIDs, Groups: st.Groups,
		Inheritable: st.CapInh, Permitted: st.CapPrm, Effective: st.CapEff,
		Bounding: st.CapBnd, Ambient: st.CapAmb,
	}
}

// SameUser tells whether c has o's ids, whatever the capabilities.
func (c *Creds) SameUser(o *Creds) bool {
	return c.UIDs == o.UIDs && c.GIDs == o.GIDs && slices.Equal(c.Groups, o.Groups)
}

// captureCreds records what a thread has otherwise than the first: only the C
// library sees to it that all have the same (man 7 nptl).
func captureCreds(c *threadCapture) error {
	c.rec.NoNewPrivs = c.status.NoNewPrivs != 0
	own := CredsOf(&c.status)
	bits := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS)
	c.later = append(c.later, func() {
		own.SecureBits = bits.Ret
		switch {
		case c.held == c.held.Proc.Leader():
			c.proc.Creds = own
		case !own.same(&c.proc.Creds):
			c.rec.Creds = &own
		}
	})
	return nil
}

// restoreCreds gives a thread its credentials, each set while the privilege
// that it needs is there (man 7 capabilities). What this user may not set stays.
//
//   - Inheritable before bounding, which is its limit.
//   - Bounding before the ids, with CAP_SETPCAP still in effect.
//   - Ambient after permitted and inheritable, and before the bit that forbids it.
//   - Capabilities go down last.
func restoreCreds(r *threadRestore) error {
	have, b := &r.base.Creds, r.batch
	want := r.creds().within(have)
	if !want.same(have) {
		raised := *have
		raised.Inheritable = want.Inheritable
		b.Add(unix.SYS_CAPSET, capHeader(), raised.capData()).Optional()
		for c := range 64 {
			if have.Bounding&^want.Bounding&(1<<c) != 0 {
				b.Add(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0).Optional()
			}
		}
	}
	if !want.SameUser(have) {
		restoreUser(b, want)
	}
	if !want.same(have) {
		raised := *have
		raised.Inheritable, raised.Effective = want.Inheritable, have.Permitted
		b.Add(unix.SYS_CAPSET, capHeader(), raised.capData()).Optional()
		b.Add(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		for c := range 64 {
			if want.Ambient&(1<<c) != 0 {
				b.Add(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0).Optional()
			}
		}
		b.Add(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, want.SecureBits).Optional()
		b.Add(unix.SYS_CAPSET, capHeader(), want.capData())
	}
	if r.rec.NoNewPrivs {
		b.Add(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

// creds are the thread's own, or its process's.
func (r *threadRestore) creds() *Creds {
	if r.rec.Creds != nil {
		return r.rec.Creds
	}
	return &r.proc.Creds
}

// same tells whether two are alike in everything.
func (c *Creds) same(o *Creds) bool {
	return c.SameUser(o) && c.Inheritable == o.Inheritable && c.Permitted == o.Permitted && c.Effective == o.Effective &&
		c.Bounding == o.Bounding && c.Ambient == o.Ambient && c.SecureBits == o.SecureBits
}

// within are the capabilities of c that a thread with have can keep.
func (c *Creds) within(have *Creds) *Creds {
	w := *c
	w.Permitted &= have.Permitted
	w.Effective &= w.Permitted
	w.Inheritable &= have.Permitted | have.Inheritable
	w.Ambient &= w.Permitted & w.Inheritable
	return &w
}

// restoreDumpable comes after all threads have their ids: each change has
// cleared it (Linux kernel/cred.c:commit_creds, v6.18). 2, which sysctl
// fs.suid_dumpable can make of that, cannot be set (man 2 PR_SET_DUMPABLE).
func (rec *Process) restoreDumpable(held *task.Process, have int) error {
	if have == rec.Dumpable || rec.Dumpable == 2 && have == 0 {
		return nil
	}
	_, err := held.Call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, rec.Dumpable == 1, 0, 0, 0)
	return err
}

// restoreUser sets groups and ids, keeping capabilities over the change of uid
// (man 7 capabilities, SECBIT_KEEP_CAPS).
func restoreUser(b *task.Batch, c *Creds) {
	var groups []byte
	for _, g := range c.Groups {
		groups = binary.LittleEndian.AppendUint32(groups, uint32(g))
	}
	b.Add(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	b.Add(unix.SYS_SETGROUPS, len(c.Groups), groups)
	b.Add(unix.SYS_SETRESGID, c.GIDs[0], c.GIDs[1], c.GIDs[2])
	b.Add(unix.SYS_SETFSGID, c.GIDs[3])
	b.Add(unix.SYS_SETRESUID, c.UIDs[0], c.UIDs[1], c.UIDs[2])
	b.Add(unix.SYS_SETFSUID, c.UIDs[3])
	b.Add(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
}

// capHeader is struct __user_cap_header_struct for the calling thread.
func capHeader() []byte {
	b := make([]byte, 8)
	binary.LittleEndian.PutUint32(b, unix.LINUX_CAPABILITY_VERSION_3)
	return b
}

// capData is struct __user_cap_data_struct[2].
func (c *Creds) capData() []byte {
	var b []byte
	for shift := 0; shift < 64; shift += 32 {
		for _, set := range []uint64{c.Effective, c.Permitted, c.Inheritable} {
			b = binary.LittleEndian.AppendUint32(b, uint32(set>>shift))
		}
	}
	return b
}
