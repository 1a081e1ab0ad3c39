package procfs

import "bytes"

// Stat is what /proc/PID/stat says about a process, or /proc/PID/task/TID/stat
// about a thread.
type Stat struct {
	PID     int    // a thread's tid, in a thread's file
	Comm    string // up to 15 bytes, any but NUL and '/'; kernel threads have longer ones
	State   byte   // R, S, D, T, t, X, Z, P or I
	PPID    int    // 0 if the parent is in no pid namespace of the reader
	PGRP    int
	Session int
	TTYNr   int // device number as in stat(2); 0 without a controlling terminal
	TPGID   int // foreground process group of that terminal, or -1
	Flags   uint64

	Nice       int
	NumThreads int
	StartTime  uint64 // ticks of sysconf(_SC_CLK_TCK) after boot, in the reader's time namespace

	// Addresses are 0, or 1, when the reader may not ptrace the process.
	StartCode, EndCode, StartStack uint64
	StartData, EndData, StartBrk   uint64
	ArgStart, ArgEnd               uint64
	EnvStart, EnvEnd               uint64

	ExitSignal int // what the parent is sent at exit; -1 for a thread that is not the leader
	RTPriority int
	Policy     int // SCHED_*
	ExitCode   int // as wait(2) reports it
}

// ReadStat reads /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	return readFile(pidPath(pid, "stat"), parseStat)
}

// ReadTaskStat reads /proc/PID/task/TID/stat.
func ReadTaskStat(pid, tid int) (Stat, error) {
	return readFile(taskPath(pid, tid, "stat"), parseStat)
}

// statFields is the number of the last field that proc_pid_stat(5) describes.
const statFields = 52

// parseStat parses a stat file. The name is between the first "(" and the last
// ")", because it may have both in it, and newlines: unlike in status, nothing
// is escaped (Linux fs/proc/array.c:do_task_stat, v6.18).
func parseStat(b []byte) (Stat, error) {
	first, last := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if first < 0 || last < first {
		return Stat{}, lineError(1, b, "no name in parentheses")
	}
	head := cursor{b: b[:first]}
	pid := head.int()
	head.lit(" ")
	line, rest := cutLine(b[last+1:])
	tail := cursor{b: line}
	tail.lit(" ")
	state := tail.byte()
	f := tail.statNumbers()
	if !head.done() || tail.bad || len(rest) > 0 {
		return Stat{}, lineError(1, b, "not the fields of stat")
	}
	s := newStat(f)
	s.PID, s.Comm, s.State = int(pid), string(b[first+1:last]), state
	return s, nil
}

// statNumbers takes field 4 and all that follow, and returns them at the index
// that proc_pid_stat(5) gives them. Fields after the last known are let
// through.
func (c *cursor) statNumbers() *[statFields + 1]uint64 {
	var f [statFields + 1]uint64
	for i := 4; i <= statFields; i++ {
		c.lit(" ")
		if len(c.b) > 0 && c.b[0] == '-' {
			f[i] = uint64(c.int())
		} else {
			f[i] = c.dec()
		}
	}
	c.separated()
	return &f
}

// newStat names the numbered fields of proc_pid_stat(5).
func newStat(f *[statFields + 1]uint64) Stat {
	return Stat{
		PPID: int(f[4]), PGRP: int(f[5]), Session: int(f[6]), TTYNr: int(f[7]), TPGID: int(f[8]),
		Flags: f[9],
		Nice:  int(f[19]), NumThreads: int(f[20]), StartTime: f[22],
		StartCode: f[26], EndCode: f[27], StartStack: f[28],
		StartData: f[45], EndData: f[46], StartBrk: f[47],
		ArgStart: f[48], ArgEnd: f[49], EnvStart: f[50], EnvEnd: f[51],
		ExitSignal: int(f[38]), RTPriority: int(f[40]), Policy: int(f[41]), ExitCode: int(f[52]),
	}
}

// Dead reports whether the process has ended. One whose first thread has exited
// while others run looks like a zombie and is none.
func (s *Stat) Dead() bool {
	return s.State == 'X' || s.State == 'Z' && s.NumThreads <= 1
}
