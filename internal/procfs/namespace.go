package procfs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Namespace returns the inode number of a namespace of a process, by the name
// of its link in /proc/PID/ns: "pid", "pid_for_children", "net", and so on.
// Two processes are in the same namespace if the numbers are the same.
func Namespace(pid int, name string) (uint64, error) {
	path := pidPath(pid, "ns/"+name)
	link, err := readLink(path)
	if err != nil {
		return 0, err
	}
	ino, err := parseNamespace([]byte(link))
	return ino, inFile(path, err)
}

// OwnNamespace is [Namespace] of ourselves, who stay in the ones we began in.
func OwnNamespace(name string) (uint64, error) {
	ours.Lock()
	defer ours.Unlock()
	ino, known := ours.namespaces[name]
	if known {
		return ino, nil
	}
	ino, err := Namespace(os.Getpid(), name)
	if err == nil {
		ours.namespaces[name] = ino
	}
	return ino, err
}

// ours are the namespaces that we have looked at.
var ours = struct {
	sync.Mutex
	namespaces map[string]uint64
}{namespaces: map[string]uint64{}}

// parseNamespace parses "pid:[4026531836]" (Linux fs/nsfs.c:ns_get_name,
// v6.12).
func parseNamespace(b []byte) (uint64, error) {
	_, c := cutKey(b)
	c.lit("[")
	ino := c.dec()
	c.lit("]")
	if !c.done() {
		return 0, lineError(1, b, "not a namespace")
	}
	return ino, nil
}

// ReadTimensOffsets reads the offsets of the time namespace that the children
// of a process will be in, which is its own unless it has called
// unshare(CLONE_NEWTIME) (Linux kernel/time/namespace.c:proc_timens_show_offsets,
// v6.12).
func ReadTimensOffsets(pid int) (monotonic, boottime unix.Timespec, err error) {
	o, err := readFile(pidPath(pid, "timens_offsets"), parseTimensOffsets)
	return o.monotonic, o.boottime, err
}

// timensOffsets is what the clocks of a time namespace are ahead of the host's.
type timensOffsets struct {
	monotonic, boottime unix.Timespec
}

// parseTimensOffsets parses two lines, each a clock, seconds and nanoseconds.
func parseTimensOffsets(b []byte) (o timensOffsets, err error) {
	for n, clock := range []struct {
		name   string
		offset *unix.Timespec
	}{
		{"monotonic", &o.monotonic},
		{"boottime", &o.boottime},
	} {
		var line []byte
		line, b = cutLine(b)
		c := cursor{b: line}
		c.lit(clock.name)
		c.blanks()
		clock.offset.Sec = c.int()
		c.separated()
		c.blanks()
		clock.offset.Nsec = c.int()
		if !c.done() {
			return timensOffsets{}, lineError(n+1, line, "not the offset of "+clock.name)
		}
	}
	if len(b) > 0 {
		return timensOffsets{}, lineError(3, b, "unknown clock")
	}
	return o, nil
}
