package memstate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/memimg"
)

// The environment of a program lies on its stack, as execve(2) has put it
// there: argc, pointers to arguments, a null, pointers to the environment, a
// null (Linux fs/binfmt_elf.c:create_elf_tables, v6.12; the kernel's start_stack
// is the address of argc). The C library's environ points to that array, or,
// after setenv(3), to one of its own with the same pointers. /proc/PID/environ
// shows the bytes between env_start and env_end.
//
// So a variable is changed in a new mapping, which has all strings as /proc is to show them,
// and every pointer to the old string, wherever it lies in private memory, is
// made to point to the new one. What a program has copied, it keeps.

// environment is a process's environment that is being changed.
type environment struct {
	p       *task.Process
	mm      *MM
	strings []envString
	array   task.Addr         // of pointers
	moved   map[uint64]uint64 // pointers: what they are to be instead
}

// envString is one NAME=VALUE.
type envString struct {
	at   task.Addr
	text []byte
}

func (s *envString) named(name string) bool {
	return len(s.text) > len(name) && s.text[len(name)] == '=' && string(s.text[:len(name)]) == name
}

// maxEnvironment is more than execve(2) takes by default.
const maxEnvironment = 16 << 20

// SetEnvironment changes variables of a process's environment; those that are
// nil are removed. It must be called when the pages are filled, and before
// Finish. pages are the extents of the space.
func (s *Space) SetEnvironment(p *task.Process, changes map[string]*string, pages []memimg.Extent) error {
	e := environment{p: p, mm: &s.MM, moved: map[uint64]uint64{}}
	if size := s.MM.EnvEnd - s.MM.EnvStart; len(changes) == 0 || size == 0 || size > maxEnvironment {
		return nil
	}
	if err := e.read(); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	if err := e.change(changes); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	for i := range s.VMAs {
		v := &s.VMAs[i]
		if v.Shared || v.Kind == InObject && v.Prot&unix.PROT_WRITE == 0 {
			continue
		}
		if err := e.redirect(v, pages); err != nil {
			return fmt.Errorf("environment: %w", err)
		}
	}
	return nil
}

// read reads what /proc shows, and finds the array.
func (e *environment) read() error {
	block := make([]byte, e.mm.EnvEnd-e.mm.EnvStart)
	if err := task.Read(e.p.PID, block, e.mm.EnvStart); err != nil {
		return err
	}
	for at := e.mm.EnvStart; len(block) > 0; {
		text, rest, _ := bytes.Cut(block, []byte{0})
		e.strings = append(e.strings, envString{at, text})
		at += task.Addr(len(text) + 1)
		block = rest
	}
	var argc [8]byte
	if err := task.Read(e.p.PID, argc[:], e.mm.StartStack); err != nil {
		return err
	}
	e.array = e.mm.StartStack + task.Addr(8*(binary.LittleEndian.Uint64(argc[:])+2))
	return nil
}

// pointers reads an array of pointers up to its null. One that does not end, or
// is not there, has none.
func (e *environment) pointers(array task.Addr) []uint64 {
	var all []uint64
	var word [8]byte
	for at := array; len(all) < maxEnvironment/8; at += 8 {
		if task.Read(e.p.PID, word[:], at) != nil {
			return nil
		}
		v := binary.LittleEndian.Uint64(word[:])
		if v == 0 {
			return all
		}
		all = append(all, v)
	}
	return nil
}

// holds tells whether the string at an address sets a variable.
func (e *environment) holds(at uint64, name string) bool {
	text := make([]byte, len(name)+1)
	return task.Read(e.p.PID, text, task.Addr(at)) == nil && string(text) == name+"="
}

// change lays out the new mapping: the strings, an empty one, and an array that
// has those that are new as well.
func (e *environment) change(changes map[string]*string) error {
	array := e.current()
	old := e.pointers(array)
	where := map[string][]uint64{} // the old strings of each variable
	for name := range changes {
		for _, at := range old {
			if e.holds(at, name) {
				where[name] = append(where[name], at)
			}
		}
	}
	block, offsets := e.layout(changes)
	size := task.Addr(len(block))
	empty := size - 1
	base, err := e.p.Call(unix.SYS_MMAP, 0, (int(size)+1+16+8*(len(old)+len(changes)+1)+task.PageSize)&^(task.PageSize-1),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return err
	}
	var added []uint64
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		to := uint64(base) + uint64(empty)
		if offset, set := offsets[name]; set {
			to = uint64(base) + uint64(offset)
			if len(where[name]) == 0 {
				added = append(added, to)
			}
		}
		for _, at := range where[name] {
			e.moved[at] = to
		}
	}
	for _, s := range e.strings { // of an array that is not the first any more
		for name := range changes {
			if to, ok := offsets[name]; s.named(name) && ok {
				e.moved[uint64(s.at)] = uint64(base) + uint64(to)
			} else if s.named(name) {
				e.moved[uint64(s.at)] = uint64(base) + uint64(empty)
			}
		}
	}
	e.mm.EnvStart, e.mm.EnvEnd = task.Addr(base), task.Addr(base)+empty
	if len(added) > 0 {
		e.moved[uint64(array)] = uint64(arrayAfter(e.mm.EnvEnd))
		block = e.appendArray(block, old, added)
	}
	return task.Write(e.p.PID, task.Addr(base), block)
}

// layout makes the block of strings, with an empty one at its end, and tells
// where the changed ones are.
func (e *environment) layout(changes map[string]*string) (block []byte, offsets map[string]int) {
	offsets = map[string]int{}
	put := func(name, value string) {
		if _, twice := offsets[name]; !twice {
			offsets[name] = len(block)
			block = append(append(block, name+"="+value...), 0)
		}
	}
	for i := range e.strings {
		name, _, _ := bytes.Cut(e.strings[i].text, []byte{'='})
		if value, changed := changes[string(name)]; !changed {
			block = append(append(block, e.strings[i].text...), 0)
		} else if value != nil {
			put(string(name), *value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if value := changes[name]; value != nil {
			put(name, *value)
		}
	}
	return append(block, 0), offsets
}

// arrayAfter is where the array lies behind a block of ours.
func arrayAfter(end task.Addr) task.Addr { return (end+1+15)&^15 + 16 }

// current finds the array that the program uses: behind the block, if that is one of
// ours and something was added to it, or on the stack.
func (e *environment) current() task.Addr {
	if e.mm.EnvStart < e.mm.StartStack || e.mm.EnvStart-e.mm.StartStack > maxEnvironment {
		if again := arrayAfter(e.mm.EnvEnd); len(e.pointers(again)) > 0 {
			return again
		}
	}
	return e.array
}

// appendArray puts the array behind the block.
func (e *environment) appendArray(block []byte, old, added []uint64) []byte {
	at := arrayAfter(e.mm.EnvEnd) - e.mm.EnvStart
	block = append(block, make([]byte, int(at)-len(block))...)
	for _, v := range old {
		if to, ok := e.moved[v]; ok {
			v = to
		}
		block = binary.LittleEndian.AppendUint64(block, v)
	}
	for _, v := range append(added, 0) {
		block = binary.LittleEndian.AppendUint64(block, v)
	}
	return block
}

// redirect changes the pointers in the pages of a mapping that the image has.
func (e *environment) redirect(v *VMA, pages []memimg.Extent) error {
	buf := make([]byte, 256*memimg.PageSize)
	for _, x := range pages {
		start, end := max(task.Addr(x.Addr), v.Start), min(task.Addr(x.End()), v.End)
		if start >= end {
			continue
		}
		chunk := buf[:end-start]
		if err := task.Read(e.p.PID, chunk, start); err != nil {
			continue // a guard, or not readable yet: no array of pointers
		}
		for i := 0; i+8 <= len(chunk); i += 8 {
			to, ok := e.moved[binary.LittleEndian.Uint64(chunk[i:])]
			if !ok {
				continue
			}
			if err := task.Write(e.p.PID, start+task.Addr(i), binary.LittleEndian.AppendUint64(nil, to)); err != nil {
				return fmt.Errorf("pointer at %#x: %w", start+task.Addr(i), err)
			}
		}
	}
	return nil
}
