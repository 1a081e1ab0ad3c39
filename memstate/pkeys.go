package memstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// maxKey is the highest protection key; 0 is that of all pages that have none
// (man 7 pkeys).
const maxKey = 15

// executeOnly tells whether the kernel gave a mapping its key by itself, as it
// does to what may be run and not read (Linux
// arch/x86/mm/pkeys.c:__execute_only_pkey, v6.18).
func (v *VMA) executeOnly(allocated uint16) bool {
	return v.Key != 0 && v.Prot == unix.PROT_EXEC && allocated>>v.Key&1 == 0
}

// captureKeys finds out which protection keys the process has allocated. What
// tells is pkey_mprotect of pages that are not there: it looks at the key
// first (EINVAL), and then for the pages (ENOMEM; Linux
// mm/mprotect.c:do_mprotect_pkey, v6.18). Allocating keys until none is left
// would tell, too, but lose them when we die at it.
func (s *Space) captureKeys(b *task.Batch, p *task.Process) {
	parasite, _ := p.Occupied()
	absent := parasite - task.PageSize // in the middle of a hole
	var calls [maxKey + 1]*task.Call
	for key := 1; key <= maxKey; key++ {
		calls[key] = b.Add(unix.SYS_PKEY_MPROTECT, absent, task.PageSize, unix.PROT_NONE, key).Optional()
	}
	b.Then(func() error {
		for key := 1; key <= maxKey; key++ {
			switch err := calls[key].Err(); {
			case errors.Is(err, unix.ENOMEM):
				s.Keys |= 1 << key
			case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
			default:
				return fmt.Errorf("protection key %d: %w", key, err)
			}
		}
		return nil
	})
}

// executeOnlyKey is the key that the kernel has taken for itself, or 0.
func (s *Space) executeOnlyKey() uint8 {
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.executeOnly(s.Keys) {
			return v.Key
		}
	}
	return 0
}

// takeKeys allocates all keys of a new process but the one that the kernel
// will take for what may only be run: it takes the first that is free.
func (s *Space) takeKeys(p *task.Process) error {
	own := s.executeOnlyKey()
	if s.Keys == 0 && own == 0 {
		return nil
	}
	var b task.Batch
	for range maxKey {
		b.Add(unix.SYS_PKEY_ALLOC, 0, 0)
	}
	if own != 0 {
		b.Add(unix.SYS_PKEY_FREE, own)
	}
	if err := p.Run(&b); err != nil {
		return &LackError{Why: "protection keys", Hint: "restart it on a host whose cpu has protection keys (pku in /proc/cpuinfo)", Err: err}
	}
	return nil
}

// giveKeys gives mappings their keys, and frees those that were free.
func (s *Space) giveKeys(b *task.Batch) {
	own := s.executeOnlyKey()
	if s.Keys == 0 && own == 0 {
		return
	}
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.Key != 0 && !v.executeOnly(s.Keys) {
			b.Add(unix.SYS_PKEY_MPROTECT, v.Start, v.Len(), v.Prot, v.Key)
		}
	}
	for key := uint8(1); key <= maxKey; key++ {
		if s.Keys>>key&1 == 0 && key != own {
			b.Add(unix.SYS_PKEY_FREE, key)
		}
	}
}
