package procfs

// Lock is a file lock, as printed in fdinfo.
type Lock struct {
	Kind  string // POSIX, OFDLCK, FLOCK, LEASE, DELEG
	Class string // ADVISORY (mandatory locks are gone since v5.15); for leases ACTIVE, BREAKING or BREAKER
	Type  string // READ or WRITE; UNLCK for a lease being given up
	PID   int    // who took it; -1 for OFDLCK, 0 when out of the reader's sight

	DevMajor, DevMinor uint32
	Ino                uint64

	Start int64
	End   int64 // the last byte, included; EOF is -1
}

// EOF is the end of a [Lock] that reaches the end of the file, however long it
// grows.
const EOF = -1

// lockKey starts the lines of fdinfo that are locks.
const lockKey = "lock:\t"

// parseLock parses "lock:\t1: POSIX  ADVISORY  WRITE 123 fe:00:456 0 EOF"
// (Linux fs/locks.c:lock_get_status, v6.12).
func parseLock(line []byte) (l Lock, ok bool) {
	c := cursor{b: line}
	c.lit(lockKey)
	c.dec()
	c.lit(": ")
	l.Kind = string(c.word())
	l.Class = string(c.word())
	l.Type = string(c.word())
	c.lit(" ")
	l.PID = int(c.int())
	c.lit(" ")
	l.DevMajor = c.uint32(16)
	c.lit(":")
	l.DevMinor = c.uint32(16)
	c.lit(":")
	l.Ino = c.dec()
	c.lit(" ")
	l.Start = c.int()
	c.lit(" ")
	if string(c.b) == "EOF" {
		l.End = EOF
		return l, !c.bad
	}
	l.End = c.int()
	return l, c.done()
}
