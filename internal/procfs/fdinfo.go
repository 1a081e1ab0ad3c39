package procfs

import (
	"bytes"
	"strconv"
)

// FDInfo is what /proc/PID/fdinfo/FD says about a file descriptor.
type FDInfo struct {
	Pos   int64
	Flags int // O_*: access mode, status flags, O_CLOEXEC of the descriptor; O_ASYNC also where a lease is held
	MntID int // of the mount it was opened through; some are in no mountinfo
	Ino   uint64
	Locks []Lock // held through this descriptor

	// Rest has the lines that only files of this kind have, as printed.
	// Methods such as [FDInfo.Eventfd] decode them.
	Rest []byte

	file  string // for errors of those methods
	lines int    // lines before Rest
}

// FDs returns the descriptors a process has open, in ascending order.
func FDs(pid int) ([]int, error) {
	return readNumbers(pidPath(pid, "fd"))
}

// ReadFDInfo reads /proc/PID/fdinfo/FD.
func ReadFDInfo(pid, fd int) (FDInfo, error) {
	path := pidPath(pid, "fdinfo/"+strconv.Itoa(fd))
	info, err := readFile(path, parseFDInfo)
	info.file = path
	return info, err
}

// parseFDInfo parses a fdinfo file: four lines that every file has, then its
// locks, then the lines of its kind (Linux fs/proc/fd.c:seq_show, v6.12).
func parseFDInfo(b []byte) (info FDInfo, err error) {
	head := []struct {
		key   string
		parse func(*cursor)
	}{
		{"pos:\t", func(c *cursor) { info.Pos = c.int() }},
		{"flags:\t0", func(c *cursor) { info.Flags = int(c.uint32(8)) }},
		{"mnt_id:\t", func(c *cursor) { info.MntID = int(c.int()) }},
		{"ino:\t", func(c *cursor) { info.Ino = c.dec() }},
	}
	for i, field := range head {
		var line []byte
		line, b = cutLine(b)
		c := cursor{b: line}
		c.lit(field.key)
		field.parse(&c)
		if !c.done() {
			return FDInfo{}, lineError(i+1, line, "not "+field.key[:len(field.key)-1])
		}
	}
	info.lines = len(head)
	for bytes.HasPrefix(b, []byte(lockKey)) {
		var line []byte
		line, b = cutLine(b)
		info.lines++
		lock, ok := parseLock(line)
		if !ok {
			return FDInfo{}, lineError(info.lines, line, "not a lock")
		}
		info.Locks = append(info.Locks, lock)
	}
	info.Rest = append([]byte(nil), b...)
	return info, nil
}

// Value returns what follows "key:" in Rest, without blanks around it.
func (f *FDInfo) Value(key string) (string, bool) {
	for rest := f.Rest; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		if k, c := cutKey(line); string(k) == key {
			return string(bytes.TrimSpace(c.rest())), true
		}
	}
	return "", false
}

// eachLine calls fn with a cursor on each line of Rest, and turns false into
// an error that names the line.
func (f *FDInfo) eachLine(msg string, fn func(c *cursor) bool) error {
	n := f.lines
	for rest := f.Rest; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		n++
		c := cursor{b: line}
		if !fn(&c) {
			return inFile(f.file, lineError(n, line, msg))
		}
	}
	return nil
}

// fields parses Rest against a form: lines that start with a key, in order,
// each with a value. Lines after the last that is known are let through.
func (f *FDInfo) fields(msg string, form []fdField) error {
	i := 0
	err := f.eachLine(msg, func(c *cursor) bool {
		if i == len(form) {
			return true
		}
		c.lit(form[i].key)
		c.blanks()
		form[i].parse(c)
		i++
		return c.done()
	})
	if err == nil && i < len(form) {
		return inFile(f.file, fileError(msg+": no "+form[i].key))
	}
	return err
}

// fdField is one line of a form.
type fdField struct {
	key   string
	parse func(*cursor)
}
