package memimg

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	indexMagic   = "SVINDEX\n"
	indexVersion = 1
	indexHeader  = 24      // magic, version, reserved, count
	indexEntry   = 40      // one extent
	maxExtents   = 1 << 26 // 2.5 GiB of index; 256 GiB of memory in the worst case
)

// indexSize is the size of an index of count extents.
func indexSize(count int) int64 { return indexHeader + int64(count)*indexEntry }

// encodeIndex writes the index of extents, which are in order already.
func encodeIndex(w io.Writer, extents []Extent) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	head := make([]byte, 0, indexHeader)
	head = append(head, indexMagic...)
	head = binary.LittleEndian.AppendUint32(head, indexVersion)
	head = binary.LittleEndian.AppendUint32(head, 0)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(extents)))
	if _, err := bw.Write(head); err != nil {
		return err
	}
	entry := make([]byte, 0, indexEntry)
	for _, e := range extents {
		if _, err := bw.Write(e.appendTo(entry)); err != nil {
			return err
		}
	}
	return bw.Flush()
}

// appendTo appends the index entry of e to b.
func (e Extent) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.Space)
	b = binary.LittleEndian.AppendUint32(b, e.Layer)
	b = binary.LittleEndian.AppendUint64(b, e.Addr)
	b = binary.LittleEndian.AppendUint32(b, e.Pages)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, e.Offset)
	return binary.LittleEndian.AppendUint64(b, e.Sum)
}

// decodeEntry is the inverse of appendTo, and gives the reserved word too.
func decodeEntry(b []byte) (e Extent, reserved uint32) {
	le := binary.LittleEndian
	return Extent{
		Space:  le.Uint32(b[0:]),
		Layer:  le.Uint32(b[4:]),
		Addr:   le.Uint64(b[8:]),
		Pages:  le.Uint32(b[16:]),
		Offset: le.Uint64(b[24:]),
		Sum:    le.Uint64(b[32:]),
	}, le.Uint32(b[20:])
}

// decodeIndex reads an index of size bytes, of an image with that many layers
// below it, from r to its end. name is the file's, for errors.
func decodeIndex(r io.Reader, size int64, layers int, name string) ([]Extent, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	count, err := decodeIndexHeader(br, size, name)
	if err != nil {
		return nil, err
	}
	extents := make([]Extent, 0, count)
	var buf [indexEntry]byte
	for i := range count {
		off := indexSize(i)
		if _, err := io.ReadFull(br, buf[:]); err != nil {
			return nil, readError(name, off, "extent", err)
		}
		e, reserved := decodeEntry(buf[:])
		msg := e.check()
		switch {
		case msg != "":
		case reserved != 0:
			msg = "reserved word is not zero"
		case uint64(e.Layer) > uint64(layers):
			msg = fmt.Sprintf("in layer %d, of %d", e.Layer, layers)
		case i > 0 && !e.follows(extents[i-1]):
			msg = "out of order, or overlaps the one before"
		}
		if msg != "" {
			return nil, &FormatError{File: name, Offset: off, Field: e.String(), Msg: msg}
		}
		extents = append(extents, e)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		return nil, &FormatError{File: name, Offset: indexSize(count), Msg: "bytes left over", Err: err}
	}
	return extents, nil
}

// decodeIndexHeader reads the header of an index of size bytes and returns how
// many extents follow: never more than that size has room for.
func decodeIndexHeader(r io.Reader, size int64, name string) (int, error) {
	var head [indexHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, readError(name, 0, "header", err)
	}
	le := binary.LittleEndian
	count := le.Uint64(head[16:])
	bad := func(off int64, field, msg string) (int, error) {
		return 0, &FormatError{File: name, Offset: off, Field: field, Msg: msg}
	}
	switch {
	case string(head[:8]) != indexMagic:
		return bad(0, "magic", "not an index")
	case le.Uint32(head[8:]) != indexVersion:
		return bad(8, "version", fmt.Sprintf("%d, not %d", le.Uint32(head[8:]), indexVersion))
	case le.Uint32(head[12:]) != 0:
		return bad(12, "reserved", "not zero")
	case count > maxExtents:
		return bad(16, "count", fmt.Sprintf("%d extents, more than %d", count, maxExtents))
	case indexSize(int(count)) != size:
		return bad(16, "count", fmt.Sprintf("%d extents do not make %d bytes", count, size))
	}
	return int(count), nil
}

// readError turns the end of a file that came too early into a FormatError,
// and gives any other error the file's name.
func readError(name string, off int64, field string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &FormatError{File: name, Offset: off, Field: field, Msg: "cut short", Err: io.ErrUnexpectedEOF}
	}
	return fmt.Errorf("%s: read %s at offset %#x: %w", name, field, off, err)
}
