package memstate

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
)

// buildID gives the build id of an ELF file in hexadecimal, or nothing: the
// note that linkers write (`ld --build-id`), or else Go's own. An error says that
// part of the file could not be read. Only the front of a file is: the rest may
// not be mapped.
func buildID(r io.ReaderAt) (string, error) {
	var ident [elf.EI_NIDENT]byte
	if _, err := r.ReadAt(ident[:], 0); errors.Is(err, io.EOF) || err == nil && string(ident[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return "", nil
	} else if err != nil {
		return "", err
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	progs, err := programHeaders(r, elf.Class(ident[elf.EI_CLASS]), order)
	if err != nil {
		return "", err
	}
	const most = 64 << 10 // of notes
	for _, p := range progs {
		if elf.ProgType(p.Type) != elf.PT_NOTE || p.Filesz > most {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := r.ReadAt(notes, int64(p.Off)); err != nil {
			return "", err
		}
		if id := findBuildID(notes, int(max(p.Align, 4)), order); id != nil {
			return hex.EncodeToString(id), nil
		}
	}
	return "", nil
}

// programHeaders reads the program headers of an ELF file, those of a 32-bit
// one in the form of 64 bits.
func programHeaders(r io.ReaderAt, class elf.Class, order binary.ByteOrder) ([]elf.Prog64, error) {
	const whole = 1 << 20 // enough for both
	in := io.NewSectionReader(r, 0, whole)
	if class == elf.ELFCLASS64 {
		var h elf.Header64
		if err := binary.Read(in, order, &h); err != nil {
			return nil, err
		}
		progs := make([]elf.Prog64, h.Phnum)
		return progs, binary.Read(io.NewSectionReader(r, int64(h.Phoff), whole*64), order, progs)
	}
	var h elf.Header32
	if err := binary.Read(in, order, &h); err != nil {
		return nil, err
	}
	short := make([]elf.Prog32, h.Phnum)
	err := binary.Read(io.NewSectionReader(r, int64(h.Phoff), whole*64), order, short)
	progs := make([]elf.Prog64, len(short))
	for i, p := range short {
		progs[i] = elf.Prog64{Type: p.Type, Off: uint64(p.Off), Filesz: uint64(p.Filesz), Align: uint64(p.Align)}
	}
	return progs, err
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
