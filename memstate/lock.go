package memstate

import (
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// LockMode says whether mappings made from now on are locked (man 2 mlockall).
type LockMode uint8

// Modes of locking. The numbers are in images.
const (
	LockNow     LockMode = 1 // MCL_FUTURE
	LockOnFault LockMode = 2 // MCL_FUTURE|MCL_ONFAULT
)

// captureModes asks what holds for mappings made from now on.
func (m *MM) captureModes(b *task.Batch, p *task.Process) {
	m.captureLockMode(b, p)
	merge := b.Add(unix.SYS_PRCTL, unix.PR_GET_MEMORY_MERGE, 0, 0, 0, 0).Optional() // EINVAL before Linux 6.4
	b.Then(func() error {
		m.Merge = merge.Ret == 1
		return nil
	})
}

// captureLockMode tells by the parasite's data, which was mapped just now:
// MADV_COLD refuses locked memory (Linux mm/internal.h:can_madv_lru_vma,
// v6.18), and a page that nobody has touched is there only if it was locked at
// once.
func (m *MM) captureLockMode(b *task.Batch, p *task.Process) {
	untouched := p.Untouched()
	resident := make([]byte, 1)
	cold := b.Add(unix.SYS_MADVISE, untouched, task.PageSize, unix.MADV_COLD).Optional()
	b.Add(unix.SYS_MINCORE, untouched, task.PageSize, resident)
	b.Then(func() error {
		switch {
		case !errors.Is(cold.Err(), unix.EINVAL):
			return cold.Err()
		case resident[0]&1 != 0:
			m.LockFuture = LockNow
		default:
			m.LockFuture = LockOnFault
		}
		return nil
	})
}

// addModes sets them again.
func (m *MM) addModes(b *task.Batch) {
	switch m.LockFuture {
	case LockNow:
		b.Add(unix.SYS_MLOCKALL, unix.MCL_FUTURE)
	case LockOnFault:
		b.Add(unix.SYS_MLOCKALL, unix.MCL_FUTURE|unix.MCL_ONFAULT)
	}
	if m.Merge {
		b.Add(unix.SYS_PRCTL, unix.PR_SET_MEMORY_MERGE, 1, 0, 0, 0)
	}
}

// lock locks what was locked. All of it is marked first, which fails for
// nothing but the limit; what the second round adds is that the pages are
// there, as far as they can be: mlock(2) has no other word for a page that
// may not be accessed than for a limit.
func (s *Space) lock(b *task.Batch) {
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.has("lo") {
			b.Add(unix.SYS_MLOCK2, v.Start, v.Len(), unix.MLOCK_ONFAULT)
		}
	}
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.has("lo") && !v.has("lf") {
			b.Add(unix.SYS_MLOCK2, v.Start, v.Len(), 0).Optional()
		}
	}
}
