package memstate

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Trampolines are the vDSO of another kernel as it must be here: at every
// function is a jump to the one of this kernel's vDSO, or the system call that
// the function stands for. Programs keep the addresses of functions that they
// have looked up once, so each stays where it was.
type Trampolines struct {
	old     VDSO
	host    VDSO
	entries []entry
}

// entry is a function of the old vDSO.
type entry struct {
	name string
	at   uint64 // offset of its first instruction
	size uint64
	host uint64 // offset of the same function in this kernel's vDSO, or 0
}

// vdsoCalls are the system calls that vDSO functions stand for (man 7 vdso).
var vdsoCalls = map[string]uint32{
	"clock_gettime": unix.SYS_CLOCK_GETTIME,
	"clock_getres":  unix.SYS_CLOCK_GETRES,
	"gettimeofday":  unix.SYS_GETTIMEOFDAY,
	"time":          unix.SYS_TIME,
	"getcpu":        unix.SYS_GETCPU,
	"getrandom":     unix.SYS_GETRANDOM,
}

// trampolines plans how to stand in for the old vDSO with the host's.
func trampolines(old, host VDSO) (*Trampolines, error) {
	theirs, err := functions(old.Image)
	if err != nil {
		return nil, fmt.Errorf("vDSO in the image: %w", err)
	}
	ours, err := functions(host.Image)
	if err != nil {
		return nil, fmt.Errorf("vDSO of this kernel: %w", err)
	}
	t := &Trampolines{old: old, host: host}
	for i, e := range theirs {
		for _, o := range ours {
			if o.name == e.name {
				e.host = o.at
			}
		}
		room := e.size
		if i+1 < len(theirs) {
			room = min(room, theirs[i+1].at-e.at)
		}
		if need := uint64(len(e.code(0))); need > room || e.at+need > uint64(len(old.Image)) {
			return nil, fmt.Errorf("%w: no room for a jump at its %s", ErrOtherVDSO, e.name)
		}
		t.entries = append(t.entries, e)
	}
	return t, nil
}

// functions lists the exported functions of a vDSO by address. Each has two
// names, of which one is the other behind "__vdso_".
func functions(image []byte) ([]entry, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
			list = append(list, entry{name: strings.TrimPrefix(s.Name, "__vdso_"), at: s.Value, size: s.Size})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it exports no function")
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return slices.CompactFunc(list, func(a, b entry) bool { return a.at == b.at }), nil
}

// code is what stands at the entry when this kernel's vDSO is at base. Nothing
// but rax changes, which no function takes an argument in.
func (e *entry) code(base task.Addr) []byte {
	nr, isCall := vdsoCalls[e.name]
	switch {
	case e.name == "getrandom":
		return getrandom
	case e.host != 0: // movabs $function, %rax; jmp *%rax
		b := binary.LittleEndian.AppendUint64([]byte{0x48, 0xb8}, uint64(base)+e.host)
		return append(b, 0xff, 0xe0)
	case isCall: // mov $nr, %eax; syscall; ret
		b := binary.LittleEndian.AppendUint32([]byte{0xb8}, nr)
		return append(b, 0x0f, 0x05, 0xc3)
	}
	return noSuchCall
}

// noSuchCall is mov $-ENOSYS, %rax; ret.
var noSuchCall = []byte{0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3}

// getrandom makes the system call, since the function works on memory of the
// program that only the kernel it comes from understands. To the question how
// much of it there should be (the fifth argument is -1) it says ENOSYS, upon
// which programs make the system call themselves (Linux
// lib/vdso/getrandom.c:__cvdso_getrandom_data, v6.18).
var getrandom = append([]byte{
	0x49, 0x83, 0xf8, 0xff, // cmp $-1, %r8
	0x74, 0x08, // je past the next three
	0xb8, unix.SYS_GETRANDOM & 0xff, unix.SYS_GETRANDOM >> 8, 0, 0, // mov $nr, %eax
	0x0f, 0x05, 0xc3, // syscall; ret
}, noSuchCall...)

// codeAt is the range of the code in a vDSO that ends at end.
func (v *VDSO) codeAt(end task.Addr) Range {
	return Range{end - task.Addr(pageUp(uint64(len(v.Image)))), end}
}

// image is the old vDSO with its trampolines, when this kernel's is at base.
func (t *Trampolines) image(base task.Addr) []byte {
	image := make([]byte, pageUp(uint64(len(t.old.Image))))
	copy(image, t.old.Image)
	for i := range t.entries {
		e := &t.entries[i]
		copy(image[e.at:], e.code(base))
	}
	return image
}

// inside tells whether an address leads into the middle of a function of the
// old vDSO, which is at code: nothing is there any more.
func (t *Trampolines) inside(code Range, a task.Addr) bool {
	if a < code.Start || a >= code.End {
		return false
	}
	off := uint64(a - code.Start)
	for _, e := range t.entries {
		if off > e.at && off < e.at+e.size {
			return true
		}
	}
	return false
}
