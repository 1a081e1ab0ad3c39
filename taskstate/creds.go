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

// restoreCreds gives a thread its credentials. Ids need privilege and are set
// only where they differ from what the thread has; capabilities go down last.
func restoreCreds(r *threadRestore) error {
	want := &r.proc.Creds
	if !want.SameUser(&r.base.Creds) {
		restoreUser(&r.batch, want)
	}
	for c := range 64 {
		if r.base.Creds.Bounding&^want.Bounding&(1<<c) != 0 {
			r.batch.Add(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0).Optional() // no CAP_SETPCAP: stays
		}
	}
	if *capsOf(want) != *capsOf(&r.base.Creds) {
		r.batch.Add(unix.SYS_CAPSET, capHeader(), want.capData())
	}
	return nil
}

// restoreDumpable comes after all threads have their ids: each change has
// cleared it (Linux kernel/cred.c:commit_creds, v6.18).
func (rec *Process) restoreDumpable(held *task.Process) error {
	_, err := held.Call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, rec.Dumpable == 1, 0, 0, 0)
	return err
}

type caps struct{ inh, prm, eff uint64 }

func capsOf(c *Creds) *caps { return &caps{c.Inheritable, c.Permitted, c.Effective} }

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
