package taskstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/nouring"
	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Seccomp is what keeps a thread from making system calls (man 2 seccomp).
type Seccomp struct {
	Filters []int `cbor:"1,keyasint,omitempty" json:"filters,omitempty"` // indexes into Process.Filters, oldest first
}

// Filter is a seccomp filter: an array of struct sock_filter.
type Filter struct {
	Program []byte `cbor:"1,keyasint" json:"program"`
	Log     bool   `cbor:"2,keyasint,omitempty" json:"log,omitempty"` // SECCOMP_FILTER_FLAG_LOG
}

// seccompStrict is a mode of seccomp, as a status file has them.
const seccompStrict = 1

// Seccomped tells whether a thread has restrictions of its own: filters that we
// are under as well come from around us both, and will be there at a restart.
func (f *Facts) Seccomped(theirs *procfs.Status) bool {
	other := theirs.Seccomp != f.Ours.Seccomp || theirs.SeccompFilters != f.Ours.SeccompFilters
	return theirs.Seccomp != 0 && (other || f.NoIoUring) || f.Virtual != nil
}

// ReadSeccomp reads a thread's filters, but for that of run --virtualize, which
// the tree has as a whole.
func (f *Facts) ReadSeccomp(t *task.Thread, st *procfs.Status) ([]Filter, error) {
	filters, err := f.readSeccomp(t, st)
	if err == nil && f.Virtual != nil {
		if len(filters) == 0 || !bytes.Equal(filters[0].Program, f.Virtual) {
			return nil, errNotVirtual
		}
		filters = filters[1:]
	}
	for _, f := range filters {
		if notifies(f.Program) {
			return nil, errNotify
		}
	}
	return filters, err
}

// readSeccomp reads all filters and suspends them, until it is let go,
// for the calls that are made in it. Both need CAP_SYS_ADMIN in the first user
// namespace and no seccomp of our own (Linux kernel/seccomp.c:seccomp_get_filter,
// kernel/ptrace.c:check_ptrace_options, v6.18).
func (f *Facts) readSeccomp(t *task.Thread, st *procfs.Status) ([]Filter, error) {
	if st.Seccomp == seccompStrict {
		return nil, errStrict
	}
	if err := t.SuspendSeccomp(); err != nil {
		if f.NoIoUring || f.Virtual != nil {
			return f.knownFilters(st)
		}
		return nil, err
	}
	read, err := t.ReadSeccomp(st.SeccompFilters)
	if err != nil {
		return nil, err
	}
	var filters []Filter
	for _, f := range read {
		filters = append(filters, Filter(f))
	}
	return filters, nil
}

// knownFilters gives the filters of a thread that descends from one with those
// of run --virtualize and --no-io-uring, where they cannot be read. Filters are
// inherited and never go away, so that who has as many has those. They need not
// be suspended: nothing that a snapshot calls do they concern.
func (f *Facts) knownFilters(st *procfs.Status) ([]Filter, error) {
	var known []Filter
	var flags []string
	if f.Virtual != nil {
		known, flags = append(known, Filter{Program: f.Virtual}), append(flags, "--virtualize")
	}
	if f.NoIoUring {
		known, flags = append(known, Filter{Program: nouring.Program()}), append(flags, "--no-io-uring")
	}
	if more := st.SeccompFilters - f.Ours.SeccompFilters; more != len(known) {
		return nil, fmt.Errorf("not only the filter of run %s, but %d", strings.Join(flags, " "), more)
	}
	return known, nil
}

// noIoUring tells whether f is the filter of run --no-io-uring.
func (f *Filter) noIoUring() bool { return !f.Log && bytes.Equal(f.Program, nouring.Program()) }

// NoIoUring tells whether a thread has the filter of run --no-io-uring, and
// whether it has nothing else: then it can be captured and brought back without
// privilege.
func (p *Process) NoIoUring(t *Thread) (has, only bool) {
	s := t.Seccomp
	if s == nil {
		return false, false
	}
	for _, i := range s.Filters {
		has = has || i >= 0 && i < len(p.Filters) && p.Filters[i].noIoUring()
	}
	return has, has && len(s.Filters) == 1
}

// Strict mode ends a thread for any call but four, so for what is left of ours
// if we die while one is made.
var errStrict = errors.New("in strict mode no call can be made in it safely")

var errNotVirtual = errors.New("not under the filter of run --virtualize")

var errNotify = errors.New("a filter asks another process (SECCOMP_RET_USER_NOTIF)")

// notifies looks for an instruction that returns SECCOMP_RET_USER_NOTIF.
func notifies(program []byte) bool {
	const size, retK, action, userNotif = 8, 0x06, 0xffff0000, 0x7fc00000
	for insn := range slices.Chunk(program, size) {
		if binary.LittleEndian.Uint16(insn) == retK && binary.LittleEndian.Uint32(insn[4:])&action == userNotif {
			return true
		}
	}
	return false
}

// captureSeccomp: what several threads have is kept once.
func captureSeccomp(c *threadCapture) error {
	if !c.facts.Seccomped(&c.status) {
		return nil
	}
	filters, err := c.facts.ReadSeccomp(c.held, &c.status)
	if err != nil {
		return err
	}
	if len(filters) == 0 {
		return nil
	}
	c.rec.Seccomp = &Seccomp{}
	for _, f := range filters {
		same := func(o Filter) bool { return o.Log == f.Log && bytes.Equal(o.Program, f.Program) }
		i := slices.IndexFunc(c.proc.Filters, same)
		if i < 0 {
			i = len(c.proc.Filters)
			c.proc.Filters = append(c.proc.Filters, f)
		}
		c.rec.Seccomp.Filters = append(c.rec.Seccomp.Filters, i)
	}
	return nil
}

// restoreSeccomp installs the filters, which are suspended until the thread is
// let go. It comes before creds, since a thread without no_new_privs needs
// CAP_SYS_ADMIN for it.
func restoreSeccomp(r *threadRestore) error {
	s := r.rec.Seccomp
	if s == nil {
		return nil
	}
	if _, only := r.proc.NoIoUring(r.rec); !only {
		if err := r.held.SuspendSeccomp(); err != nil {
			return err
		}
	}
	for _, i := range s.Filters {
		if i < 0 || i >= len(r.proc.Filters) {
			return fmt.Errorf("there is no filter %d", i)
		}
		f := &r.proc.Filters[i]
		// What the cpu may speculate on is carried by itself.
		flags := unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		if f.Log {
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		}
		r.batch.Add(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, f.Encode())
	}
	return nil
}

// Encode is the filter as struct sock_fprog, with the program behind it.
func (f *Filter) Encode() task.Struct {
	const insn, size, pointer = 8, 16, 8
	b := make([]byte, size, size+len(f.Program))
	binary.LittleEndian.PutUint16(b, uint16(len(f.Program)/insn))
	return task.Struct{Bytes: append(b, f.Program...), Pointers: []task.Pointer{{At: pointer, To: size}}}
}
