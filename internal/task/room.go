package task

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"supervise/internal/procfs"
)

// findSlack finds where bootstrap code may stand: where that of a killed
// supervisor does, or else in the first place with room.
func (p *Process) findSlack(vmas []procfs.VMA) (Addr, error) {
	rooms, err := p.rooms(vmas)
	if err != nil {
		return 0, err
	}
	for _, r := range rooms {
		if r.taken {
			return r.at, nil
		}
	}
	if len(rooms) == 0 {
		return 0, fmt.Errorf("pid %d: %w", p.PID, ErrNoRoom)
	}
	return rooms[0].at, nil
}

// room is a place for bootstrap code: zero bytes in an executable page, behind
// what there is of code.
type room struct {
	at    Addr
	taken bool // by code that a killed supervisor has left
}

// rooms lists them: the end of the vDSO, or where a program has unmapped that,
// as Valgrind does, the ends of files' code.
func (p *Process) rooms(vmas []procfs.VMA) ([]room, error) {
	for i := range vmas {
		if vmas[i].Path != "[vdso]" {
			continue
		}
		var page [PageSize]byte
		last := Addr(vmas[i].End - PageSize)
		if err := Read(p.PID, page[:], last); err != nil {
			return nil, err
		}
		if at, taken := leftover(page[:]); taken {
			return []room{{last + Addr(at), true}}, nil
		}
		image := len(bytes.TrimRight(page[:], "\x00"))
		if at := align16(image + 16); at+slackSize <= PageSize {
			return []room{{last + Addr(at), false}}, nil
		}
	}
	var rooms []room
	for i := range vmas {
		if v := &vmas[i]; v.Exec && !v.Write && !v.Shared && v.Ino != 0 {
			rooms = append(rooms, p.padding(vmas, v)...)
		}
	}
	return rooms, nil
}

// padding gives the room behind the code that a file has in mapping v. The
// file's program headers, in memory before it, say where the code ends; what
// follows in the page, linkers fill with zeros. A file without headers has none.
func (p *Process) padding(vmas []procfs.VMA, v *procfs.VMA) []room {
	for _, end := range p.codeEnds(vmas, v) {
		if end <= v.Offset || end > v.Offset+v.Len() {
			continue
		}
		at := Addr(align16(int(v.Start + end - v.Offset + 16)))
		if at+slackSize > Addr(v.End) {
			continue
		}
		b := make([]byte, Addr(v.End)-at)
		if Read(p.PID, b, at) != nil {
			continue
		}
		taken := bytes.HasPrefix(b, parasiteCode)
		if taken || len(bytes.Trim(b, "\x00")) == 0 {
			return []room{{at, taken}}
		}
	}
	return nil
}

// codeEnds gives the offsets in the file of v at which segments with code end.
func (p *Process) codeEnds(vmas []procfs.VMA, v *procfs.VMA) []uint64 {
	var head [PageSize]byte
	found := false
	for i := range vmas {
		h := &vmas[i]
		same := h.Ino == v.Ino && h.DevMajor == v.DevMajor && h.DevMinor == v.DevMinor
		if same && h.Offset == 0 && h.Read && h.Start <= v.Start {
			found = Read(p.PID, head[:], Addr(h.Start)) == nil
		}
	}
	var file elf.Header64
	r := bytes.NewReader(head[:])
	if !found || binary.Read(r, binary.LittleEndian, &file) != nil || string(file.Ident[:4]) != elf.ELFMAG ||
		file.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || file.Phoff > PageSize {
		return nil
	}
	var ends []uint64
	r = bytes.NewReader(head[file.Phoff:])
	for range file.Phnum {
		var seg elf.Prog64
		if binary.Read(r, binary.LittleEndian, &seg) != nil {
			break
		}
		if elf.ProgType(seg.Type) == elf.PT_LOAD && elf.ProgFlag(seg.Flags)&elf.PF_X != 0 && seg.Memsz == seg.Filesz {
			ends = append(ends, seg.Off+seg.Filesz)
		}
	}
	return ends
}

// leftover finds bootstrap code that a killed supervisor left behind: it may
// be written over.
func leftover(page []byte) (int, bool) {
	at := bytes.Index(page, parasiteCode)
	return at, at > 0 && at+slackSize <= PageSize
}
