package procfs

import (
	"fmt"
	"strings"
	"testing"
)

// oddComm is the name that testdata/record.py gives a thread.
const oddComm = "a) R 1 (\n\\n\xffb\tc"

func TestParseStat(t *testing.T) {
	for name, want := range map[string]Stat{
		"odd/stat": {
			PID: 5595, Comm: oddComm, State: 'S', PPID: 5554, PGRP: 5509, Session: 3019, TPGID: -1,
			Flags: 4194624, NumThreads: 2, StartTime: 177752,
			StartCode: 93839183458304, EndCode: 93839183458645, StartStack: 140722655772752,
			StartData: 93839183470000, EndData: 93839183470616, StartBrk: 93840240398336,
			ArgStart: 140722655774875, ArgEnd: 140722655774926,
			EnvStart: 140722655774926, EnvEnd: 140722655776719, ExitSignal: 17,
		},
		"zombie/stat": {
			PID: 5597, Comm: "python3", State: 'Z', PPID: 5595, PGRP: 5509, Session: 3019, TPGID: -1,
			Flags: 4228172, NumThreads: 1, StartTime: 177753, ExitSignal: 17, ExitCode: 9,
		},
		"kthreadd/stat": {
			PID: 2, Comm: "kthreadd", State: 'S', TPGID: -1, Flags: 2129984, NumThreads: 1, StartTime: 22,
		},
	} {
		check(t, name, must(parseStat(recorded(t, name)))(t), want)
	}
	thread := must(parseStat(recorded(t, "thread/stat")))(t)
	check(t, "exit signal of a thread", thread.ExitSignal, -1)
}

func TestParseStatFields(t *testing.T) {
	numbers := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, " %d", i+4)
		}
		return s.String()
	}
	s := must(parseStat([]byte("1 (x) R" + numbers(50) + "\n")))(t)
	check(t, "numbered", s, Stat{
		PID: 1, Comm: "x", State: 'R', PPID: 4, PGRP: 5, Session: 6, TTYNr: 7, TPGID: 8, Flags: 9,
		Nice: 19, NumThreads: 20, StartTime: 22, StartCode: 26, EndCode: 27, StartStack: 28,
		ExitSignal: 38, RTPriority: 40, Policy: 41, StartData: 45, EndData: 46, StartBrk: 47,
		ArgStart: 48, ArgEnd: 49, EnvStart: 50, EnvEnd: 51, ExitCode: 52,
	})
	for _, bad := range []string{
		"", "1", "1 (", "1 ) (", "1 (x)", "1 (x) R", "x (x) R" + numbers(49), "1 (x) R" + numbers(48),
		"1 (x) R" + numbers(49) + "x", "1 (x) R" + numbers(49) + "\n1",
	} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, s)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s := must(parseStatus(recorded(t, "odd/status")))(t)
	check(t, "odd", s, Status{
		Name: oddComm, Umask: 0o27, State: 'S', TGID: 5595, PID: 5595, PPID: 5554,
		Groups: []int{5, 7, 4294967294},
		NStgid: []int{5595}, NSpid: []int{5595}, NSpgid: []int{5509}, NSsid: []int{3019},
		THPEnabled: true, UntagMask: ^uint64(0), Threads: 2, SigQ: 7,
		ShdPnd: 1 << 63, SigBlk: 1 << 63, SigIgn: 0x1001200, SigCgt: 0x100000802,
		CapPrm: 0x1fffeffffff, CapEff: 0x1fffeffffff, CapBnd: 0x1fffeffffff,
		SpeculationStoreBypass: "vulnerable", SpeculationIndirectBranch: "always enabled",
	})
	s = must(parseStatus(recorded(t, "nested/status")))(t)
	check(t, "nested", [][]int{s.NStgid, s.NSpid, s.NSpgid, s.NSsid, s.Groups},
		[][]int{{5600, 1}, {5600, 1}, {5600, 1}, {5600, 1}, nil})
	s = must(parseStatus(recorded(t, "zombie/status")))(t)
	check(t, "zombie", []any{s.State, s.Umask, s.UntagMask}, []any{byte('Z'), -1, uint64(0)})
	s = must(parseStatus(recorded(t, "thread/status")))(t)
	check(t, "thread", []any{s.PID, s.TGID, s.Name}, []any{5596, 5595, "python3"})
	s = must(parseStatus(recorded(t, "kthreadd/status")))(t)
	check(t, "kernel thread", s.Kthread, true)
}

func TestParseStatusMalformed(t *testing.T) {
	good := string(recorded(t, "odd/status"))
	for _, change := range [][2]string{
		{"Uid:\t0\t0\t0\t0", "Uid:\t0\t0\t0"},
		{"Uid:\t0\t0\t0\t0", "Uid:\t0\t0\t0\t-1"},
		{"Groups:\t5 7", "Groups:\t5,7"},
		{"Pid:\t5595", "Pid:5595"},
		{"SigQ:\t7/", "SigQ:\t7 "},
		{"SigBlk:\t", "SigBlk:\tg"},
		{"SigBlk:", "SigBlo:"},
		{"Umask:", "Umask"},
		{"SigCgt:", "SigIgn:\t0\nSigCgt:"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if _, err := parseStatus([]byte(bad)); err == nil || bad == good {
			t.Errorf("%q for %q: no error", change[1], change[0])
		}
	}
	cut := good[:len(good)/2]
	if _, err := parseStatus([]byte(cut)); err == nil {
		t.Error("no error for half of the file")
	}
	extra := must(parseStatus([]byte(good + "x86_Thread_features:\tshstk wrss \nNew:\tline\n")))(t)
	check(t, "features", extra.ThreadFeatures, []string{"shstk", "wrss"})
}
