package fdstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// LockKind says which call took a lock, and so who owns it.
type LockKind uint8

// The kinds of file locks. A process owns POSIX locks, a description owns the
// others. A lease is no lock, but is kept as one by the kernel. In images: never
// renumber.
const (
	LockPOSIX LockKind = 1 // fcntl F_SETLK
	LockOFD   LockKind = 2 // fcntl F_OFD_SETLK
	LockFlock LockKind = 3 // flock
	LockLease LockKind = 4 // fcntl F_SETLEASE
	lockOther LockKind = 0 // never in an image
)

var lockKinds = map[string]LockKind{"POSIX": LockPOSIX, "OFDLCK": LockOFD, "FLOCK": LockFlock, "LEASE": LockLease}

// Lock is the image record of a file lock.
type Lock struct {
	Kind  LockKind `cbor:"1,keyasint" json:"kind"`
	Proc  int      `cbor:"2,keyasint,omitempty" json:"proc,omitempty"` // index of the owner of a POSIX lock
	Write bool     `cbor:"3,keyasint,omitempty" json:"write,omitempty"`
	Start int64    `cbor:"4,keyasint,omitempty" json:"start,omitempty"`
	Len   int64    `cbor:"5,keyasint,omitempty" json:"len,omitempty"` // 0 is up to the end, as in struct flock
}

// surveyLocks gives every description its locks. fdinfo has a lock under the
// description it was taken through: an owner's POSIX locks in its own files
// only, the others in everybody's (Linux fs/locks.c:__show_fd_locks, v6.12).
func (s *Survey) surveyLocks() error {
	for proc, table := range s.tables {
		for i := range table {
			for _, l := range table[i].info.Locks {
				d, lock := table[i].desc, newLock(proc, l)
				d.breaking = d.breaking || lock.Kind == LockLease && l.Class != "ACTIVE"
				if !slices.Contains(d.locks, lock) {
					d.locks = append(d.locks, lock)
				}
			}
		}
	}
	return nil
}

func newLock(proc int, l procfs.Lock) Lock {
	lock := Lock{Kind: lockKinds[l.Kind], Write: l.Type == "WRITE", Start: l.Start}
	if l.End != procfs.EOF {
		lock.Len = l.End - l.Start + 1
	}
	if lock.Kind == LockPOSIX {
		lock.Proc = proc
	}
	return lock
}

// checkLocks refuses what is told by signals and must be answered in time: a
// lease that another process wants to be given up.
func (d *Desc) checkLocks() error {
	switch {
	case d.breaking:
		return RefuseNow("its lease (fcntl F_SETLEASE) is being broken")
	case slices.ContainsFunc(d.locks, func(l Lock) bool { return l.Kind == lockOther }):
		return Refuse("a delegation or another unknown kind of lock is held on it", "")
	}
	return nil
}

// lock queues the locks that process i takes.
func (r *Restorer) lock(o *Opener, i int) {
	for _, file := range r.locked[i] {
		f := &r.state.Files[file]
		mark := len(o.then)
		num := r.number(i, file)
		for _, l := range f.Locks {
			if l.Kind != LockLease && (l.Kind != LockPOSIX || l.Proc == i) {
				l.restore(o, num)
			}
		}
		o.wrap(mark, func(err error) error {
			if errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("restore the lock on %s: another process has locked it: %w", f.Link, err)
			}
			return fmt.Errorf("restore the lock on %s: %w", f.Link, err)
		})
	}
}

// findLocks lists for each process the files whose locks it takes: POSIX locks
// of its own, and those of descriptions of which it is the first user.
func (r *Restorer) findLocks() {
	r.locked = make([][]int, len(r.state.Tables))
	for file := range r.state.Files {
		for _, l := range r.state.Files[file].Locks {
			proc := l.Proc
			if l.Kind != LockPOSIX {
				proc = r.firstProc(file)
			}
			// Without a descriptor there is no lock: a rule has closed it.
			if r.firstProc(file) < 0 || proc != r.firstProc(file) && r.state.Tables[proc].Find(file) < 0 {
				continue
			}
			if list := r.locked[proc]; !slices.Contains(list, file) {
				r.locked[proc] = append(list, file)
			}
		}
	}
}

// restore queues the call that takes the lock through descriptor num.
func (l Lock) restore(o *Opener, num int) {
	switch l.Kind {
	case LockFlock:
		how := unix.LOCK_SH
		if l.Write {
			how = unix.LOCK_EX
		}
		o.Call("flock", unix.SYS_FLOCK, num, how|unix.LOCK_NB)
	case LockOFD:
		o.Call("fcntl F_OFD_SETLK", unix.SYS_FCNTL, num, unix.F_OFD_SETLK, l.flock())
	case LockPOSIX:
		o.Call("fcntl F_SETLK", unix.SYS_FCNTL, num, unix.F_SETLK, l.flock())
	case LockLease:
		how := unix.F_RDLCK
		if l.Write {
			how = unix.F_WRLCK
		}
		o.Call("fcntl F_SETLEASE", unix.SYS_FCNTL, num, unix.F_SETLEASE, how)
	}
}

// flock is the lock as struct flock (Linux include/uapi/asm-generic/fcntl.h).
func (l Lock) flock() []byte {
	typ := uint16(unix.F_RDLCK)
	if l.Write {
		typ = unix.F_WRLCK
	}
	b := binary.LittleEndian.AppendUint16(nil, typ)
	b = binary.LittleEndian.AppendUint16(b, unix.SEEK_SET)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Start))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Len))
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0) // l_pid, padding
}

// check is for records out of an image.
func (l Lock) check(procs int) error {
	if l.Kind < LockPOSIX || l.Kind > LockLease || l.Proc < 0 || l.Proc >= procs || l.Start < 0 || l.Len < 0 {
		return fmt.Errorf("not a lock: %+v", l)
	}
	return nil
}
