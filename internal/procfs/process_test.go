package procfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestParseTimers(t *testing.T) {
	timers := must(parseTimers(recorded(t, "odd/timers")))(t)
	check(t, "timers", timers, []Timer{
		{ID: 5, Signal: 12, SigevValue: 4, Notify: "thread", Target: 5595, ClockID: 1},
		{ID: 4, Signal: 14, SigevValue: 3, Notify: "signal", Target: 5595, ClockID: -2},
		{ID: 3, Signal: 14, SigevValue: 2, Notify: "signal", Target: 5595, ClockID: -6},
		{ID: 2, Signal: 10, SigevValue: 1, Notify: "signal", NotifyTID: true, Target: 5595, ClockID: 7},
		{ID: 1, Notify: "none", Target: 5595},
		{ID: 0, Signal: 34, SigevValue: 0xdeadbeef01020304, Notify: "signal", Target: 5595, ClockID: 1},
	})
	for _, bad := range []string{
		"ID: 1\n", "ID: 1\nsignal: 1/0\nnotify: signal/pid.1\n", "ID: 1\nsignal: 1/0\nnotify: signal/gid.1\nClockID: 0\n",
		"x\n", "ID: 1\nsignal: 1\nnotify: signal/pid.1\nClockID: 0\n",
	} {
		if timers, err := parseTimers([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %v", bad, timers)
		}
	}
}

func TestParseSmallFiles(t *testing.T) {
	check(t, "children", must(parseChildren(recorded(t, "odd/children")))(t), []int{5597, 5598})
	check(t, "comm", must(parseComm(recorded(t, "odd/comm")))(t), oddComm)
	check(t, "personality", must(parsePersonality([]byte("00040000\n")))(t), 0x40000)
	o := must(parseTimensOffsets(recorded(t, "nested/timens_offsets")))(t)
	check(t, "monotonic", o.monotonic, unix.Timespec{Sec: -50, Nsec: 999999999})
	check(t, "boottime", o.boottime, unix.Timespec{Sec: 86400, Nsec: 1})
	check(t, "namespace", must(parseNamespace([]byte("pid:[4026531836]")))(t), 4026531836)
	check(t, "no arguments", must(parseCmdline(nil))(t), nil)
	check(t, "arguments", must(parseCmdline([]byte("a b\x00\x00c\n\x00")))(t), []string{"a b", "", "c\n"})
	check(t, "title", must(parseCmdline([]byte("title")))(t), []string{"title"})
}

func TestParseMountInfo(t *testing.T) {
	mounts := must(parseMountInfo(recorded(t, "mounts/mountinfo")))(t)
	check(t, "odd", mounts[len(mounts)-1], Mount{
		ID: 63, Parent: 43, DevMinor: 39, Root: "/", MountPoint: "/tmp/m \n\\t#\t", FSType: "tmpfs", Source: "a #\\source",
	})
	optional := must(parseMountInfo([]byte("1 2 8:1 /a /b rw shared:1 master:2 - ext4  rw\n")))(t)
	check(t, "optional fields, no source", optional, []Mount{
		{ID: 1, Parent: 2, DevMajor: 8, DevMinor: 1, Root: "/a", MountPoint: "/b", FSType: "ext4"},
	})
	for _, bad := range []string{"\n", "1 2 8:1 /a /b rw shared:1\n", "1 2 8:1 /a /b rw -\n", "1 2 8 /a /b rw - ext4 x rw\n"} {
		if m, err := parseMountInfo([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %v", bad, m)
		}
	}
}

func TestSelf(t *testing.T) {
	pid := os.Getpid()
	stat := must(ReadStat(pid))(t)
	check(t, "stat", []int{stat.PID, stat.PPID, stat.PGRP}, []int{pid, os.Getppid(), unix.Getpgrp()})
	status := must(ReadStatus(pid))(t)
	check(t, "status", []int{status.TGID, status.PID, status.PPID}, []int{pid, pid, os.Getppid()})
	tids := must(Tasks(pid))(t)
	check(t, "leader is a task", slices.Contains(tids, pid), true)
	task := must(ReadTaskStatus(pid, tids[len(tids)-1]))(t)
	check(t, "task", []int{task.PID, task.TGID}, []int{tids[len(tids)-1], pid})
	check(t, "task stat", must(ReadTaskStat(pid, pid))(t).PID, pid)
	check(t, "comm", must(Comm(pid, pid))(t), stat.Comm)
	check(t, "cmdline", must(Cmdline(pid))(t), os.Args)
	check(t, "exe", must(Exe(pid))(t), must(os.Executable())(t))
	check(t, "cwd", must(Cwd(pid))(t), must(os.Getwd())(t))
	check(t, "root", must(Root(pid))(t), "/")
	must(ReadTimers(pid))(t)
	must(Personality(pid))(t)
	if _, _, err := ReadTimensOffsets(pid); err != nil {
		t.Error(err)
	}
	check(t, "processes", slices.Contains(must(Processes())(t), pid), true)
	auxv := must(ReadAuxv(pid))(t)
	check(t, "auxv ends in AT_NULL", bytes.HasSuffix(auxv, make([]byte, 16)), true)
	check(t, "AT_SYSINFO_EHDR", binary.LittleEndian.Uint64(auxv), 33)
}

func TestSelfNamespaceAndFDs(t *testing.T) {
	pid := os.Getpid()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		t.Fatal(err)
	}
	check(t, "namespace", must(Namespace(pid, "pid"))(t), st.Ino)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fds := must(FDs(pid))(t)
	check(t, "fds", slices.Contains(fds, int(r.Fd())) && slices.IsSorted(fds), true)
	info := must(ReadFDInfo(pid, int(w.Fd())))(t)
	check(t, "link", must(FDLink(pid, int(w.Fd())))(t), "pipe:["+strconv.FormatUint(info.Ino, 10)+"]")
	check(t, "root mount", slices.ContainsFunc(must(ReadMountInfo(pid))(t), func(m Mount) bool {
		return m.MountPoint == "/"
	}), true)
}

func TestChildren(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := cmd.Process.Pid
	want := []int{child}
	check(t, "children", must(Children(os.Getpid()))(t), want)
	check(t, "children by parent", must(childrenByParent(os.Getpid()))(t), want)
	cmd.Process.Kill()
	cmd.Wait()
	check(t, "no children", must(Children(os.Getpid()))(t), nil)
	for name, err := range map[string]error{
		"stat":     second(ReadStat(child)),
		"smaps":    second(ReadSmaps(child)),
		"exe":      second(Exe(child)),
		"tasks":    second(Tasks(child)),
		"children": second(Children(child)),
		"pagemap":  second(OpenPagemap(child)),
	} {
		if !Gone(err) {
			t.Errorf("%s of a reaped process: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
