package memstate

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// buildID gives the build id of an ELF file in hexadecimal, or nothing: the
// note that linkers write (`ld --build-id`), or else Go's own.
func buildID(r io.ReaderAt) string {
	var magic [len(elf.ELFMAG)]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return ""
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 64 << 10 // of notes
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > most {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			continue
		}
		if id := findBuildID(notes, int(max(p.Align, 4)), f.ByteOrder); id != nil {
			return hex.EncodeToString(id)
		}
	}
	return ""
}

// findBuildID looks through notes: sizes of name and content, type, name and
// content. What follows the name, and the next note, are aligned (man 5 elf, "Notes").
func findBuildID(notes []byte, align int, order binary.ByteOrder) []byte {
	const header, gnuBuildID, goBuildID = 12, 3, 4
	const most = 1 << 16 // of name or content: far more than there are notes
	pad := func(n int) int { return (n + align - 1) &^ (align - 1) }
	for len(notes) >= header {
		name, desc, kind := int(order.Uint32(notes)), int(order.Uint32(notes[4:])), order.Uint32(notes[8:])
		if name > most || desc > most {
			return nil
		}
		start := pad(header + name)
		if start+desc > len(notes) {
			return nil
		}
		owner := string(bytes.TrimRight(notes[header:][:name], "\x00"))
		if owner == "GNU" && kind == gnuBuildID || owner == "Go" && kind == goBuildID {
			return notes[start:][:desc]
		}
		notes = notes[min(pad(start+desc), len(notes)):]
	}
	return nil
}
