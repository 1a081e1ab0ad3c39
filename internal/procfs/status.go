package procfs

import (
	"bytes"
	"strings"
)

// Status is what /proc/PID/status says about a process, or
// /proc/PID/task/TID/status about a thread.
type Status struct {
	Name      string
	Umask     int // -1 once the task has exited
	State     byte
	TGID      int
	PID       int
	PPID      int
	TracerPID int    // 0 if not traced, or by a tracer out of the reader's sight
	UIDs      [4]int // real, effective, saved, filesystem; in the reader's user namespace
	GIDs      [4]int
	Groups    []int
	Kthread   bool // a thread of the kernel; printed since v6.8

	// Ids in each pid namespace from the reader's down to the task's own.
	NStgid, NSpid, NSpgid, NSsid []int

	// Absent, and so zero, once the task has given up its memory.
	CoreDumping bool
	THPEnabled  bool // not switched off by PR_SET_THP_DISABLE
	UntagMask   uint64

	Threads int // 0 for a task that was reaped while it was looked at
	SigQ    int // signals queued for this user, all processes together

	// Signal sets: bit 0 is signal 1.
	SigPnd, ShdPnd, SigBlk, SigIgn, SigCgt uint64

	CapInh, CapPrm, CapEff, CapBnd, CapAmb uint64

	NoNewPrivs     int
	Seccomp        int // SECCOMP_MODE_*
	SeccompFilters int

	SpeculationStoreBypass    string // e.g. "thread vulnerable"
	SpeculationIndirectBranch string // e.g. "conditional enabled"

	ThreadFeatures       []string // x86: "shstk", "wrss"
	ThreadFeaturesLocked []string
}

// ReadStatus reads /proc/PID/status.
func ReadStatus(pid int) (Status, error) {
	return readFile(pidPath(pid, "status"), parseStatus)
}

// ReadTaskStatus reads /proc/PID/task/TID/status.
func ReadTaskStatus(pid, tid int) (Status, error) {
	return readFile(taskPath(pid, tid, "status"), parseStatus)
}

// statusField is a line of a status file that is wanted.
type statusField struct {
	optional bool // not there for every task, or on every kernel since v6.7
	parse    func(*Status, *cursor)
}

// statusFields has the wanted lines by key (Linux
// fs/proc/array.c:proc_pid_status, v6.12).
var statusFields = map[string]statusField{
	"Name":      {false, func(s *Status, c *cursor) { s.Name = unescapeComm(c.rest()) }},
	"Umask":     {true, func(s *Status, c *cursor) { s.Umask = int(c.uint32(8)) }},
	"State":     {false, func(s *Status, c *cursor) { s.State = c.byte(); c.rest() }},
	"Tgid":      {false, func(s *Status, c *cursor) { s.TGID = int(c.int()) }},
	"Pid":       {false, func(s *Status, c *cursor) { s.PID = int(c.int()) }},
	"PPid":      {false, func(s *Status, c *cursor) { s.PPID = int(c.int()) }},
	"TracerPid": {false, func(s *Status, c *cursor) { s.TracerPID = int(c.int()) }},
	"Uid":       {false, func(s *Status, c *cursor) { s.UIDs = c.fourIDs() }},
	"Gid":       {false, func(s *Status, c *cursor) { s.GIDs = c.fourIDs() }},
	"Groups":    {false, func(s *Status, c *cursor) { s.Groups = c.ints() }},
	"Kthread":   {true, func(s *Status, c *cursor) { s.Kthread = c.flag('1', '0') }},

	"NStgid": {true, func(s *Status, c *cursor) { s.NStgid = c.ints() }},
	"NSpid":  {true, func(s *Status, c *cursor) { s.NSpid = c.ints() }},
	"NSpgid": {true, func(s *Status, c *cursor) { s.NSpgid = c.ints() }},
	"NSsid":  {true, func(s *Status, c *cursor) { s.NSsid = c.ints() }},

	"CoreDumping": {true, func(s *Status, c *cursor) { s.CoreDumping = c.flag('1', '0') }},
	"THP_enabled": {true, func(s *Status, c *cursor) { s.THPEnabled = c.flag('1', '0') }},
	"untag_mask":  {true, func(s *Status, c *cursor) { c.lit("0x"); s.UntagMask = c.hex() }},

	"Threads": {false, func(s *Status, c *cursor) { s.Threads = int(c.int()) }},
	"SigQ":    {false, func(s *Status, c *cursor) { s.SigQ = int(c.int()); c.lit("/"); c.dec() }},
	"SigPnd":  {false, func(s *Status, c *cursor) { s.SigPnd = c.hex() }},
	"ShdPnd":  {false, func(s *Status, c *cursor) { s.ShdPnd = c.hex() }},
	"SigBlk":  {false, func(s *Status, c *cursor) { s.SigBlk = c.hex() }},
	"SigIgn":  {false, func(s *Status, c *cursor) { s.SigIgn = c.hex() }},
	"SigCgt":  {false, func(s *Status, c *cursor) { s.SigCgt = c.hex() }},

	"CapInh": {false, func(s *Status, c *cursor) { s.CapInh = c.hex() }},
	"CapPrm": {false, func(s *Status, c *cursor) { s.CapPrm = c.hex() }},
	"CapEff": {false, func(s *Status, c *cursor) { s.CapEff = c.hex() }},
	"CapBnd": {false, func(s *Status, c *cursor) { s.CapBnd = c.hex() }},
	"CapAmb": {false, func(s *Status, c *cursor) { s.CapAmb = c.hex() }},

	"NoNewPrivs":      {false, func(s *Status, c *cursor) { s.NoNewPrivs = int(c.int()) }},
	"Seccomp":         {true, func(s *Status, c *cursor) { s.Seccomp = int(c.int()) }},
	"Seccomp_filters": {true, func(s *Status, c *cursor) { s.SeccompFilters = int(c.int()) }},

	"Speculation_Store_Bypass":  {true, func(s *Status, c *cursor) { s.SpeculationStoreBypass = string(c.rest()) }},
	"SpeculationIndirectBranch": {true, func(s *Status, c *cursor) { s.SpeculationIndirectBranch = string(c.rest()) }},

	"x86_Thread_features":        {true, func(s *Status, c *cursor) { s.ThreadFeatures = strings.Fields(string(c.rest())) }},
	"x86_Thread_features_locked": {true, func(s *Status, c *cursor) { s.ThreadFeaturesLocked = strings.Fields(string(c.rest())) }},
}

// statusRequired is how many of statusFields every status file has.
var statusRequired = func() (n int) {
	for _, f := range statusFields {
		if !f.optional {
			n++
		}
	}
	return n
}()

// parseStatus parses a status file: "Key:\tvalue" lines.
func parseStatus(b []byte) (Status, error) {
	s := Status{Umask: -1}
	required := 0
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		key, c := cutKey(line)
		if len(key) == 0 {
			return Status{}, lineError(n, line, "no key")
		}
		field, ok := statusFields[string(key)]
		if !ok {
			continue
		}
		c.lit("\t")
		field.parse(&s, &c)
		if !c.done() {
			return Status{}, lineError(n, line, "malformed value")
		}
		if !field.optional {
			required++
		}
	}
	if required != statusRequired {
		return Status{}, fileError("lines are missing, or there twice")
	}
	return s, nil
}

// fourIDs takes real, effective, saved and filesystem id.
func (c *cursor) fourIDs() (ids [4]int) {
	for i := range ids {
		if i > 0 {
			c.lit("\t")
		}
		ids[i] = int(c.uint32(10))
	}
	return ids
}

// unescapeComm undoes the escapes of a thread's name in status: \n for a newline
// and \\ for a backslash (Linux fs/proc/array.c:proc_task_name, v6.18).
func unescapeComm(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
			if b[i] == 'n' {
				out = append(out, '\n')
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}
