package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The tests read /proc with code of their own, so that a mistake in the
// product's readers does not hide itself.

// slurp is the content of a file, or "".
func slurp(path ...string) string {
	b, _ := os.ReadFile(filepath.Join(path...))
	return string(b)
}

func procPath(pid int, name ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(pid)}, name...)...)
}

// statField gives fields of a stat file, counted from 1 as in proc(5), from 3 on.
func statField(path string, n int) string {
	s := slurp(path)
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return ""
	}
	fields := strings.Fields(s[i+1:])
	if n-3 >= len(fields) {
		return ""
	}
	return fields[n-3]
}

// numbers are the names in a directory that are numbers, in order.
func numbers(dir string) (ns []int) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns
}

// descendants are all processes below pid, zombies included.
func descendants(pid int) (pids []int) {
	children := make(map[int][]int)
	for _, p := range numbers("/proc") {
		parent, _ := strconv.Atoi(statField(procPath(p, "stat"), 4))
		children[parent] = append(children[parent], p)
	}
	todo := []int{pid}
	for len(todo) > 0 {
		next := children[todo[0]]
		todo = append(todo[1:], next...)
		pids = append(pids, next...)
	}
	return pids
}

// ids gives an id of a process in every pid namespace down from ours:
// "NSpid", "NSpgid" or "NSsid".
func ids(pid int, key string) (list []int) {
	for _, f := range strings.Fields(statusLine(procPath(pid, "status"), key)) {
		n, _ := strconv.Atoi(f)
		list = append(list, n)
	}
	return list
}

// inner is the pid that the process has for itself.
func inner(pid int) int {
	list := ids(pid, "NSpid")
	if len(list) == 0 {
		return -1
	}
	return list[len(list)-1]
}

// statusLine is the value of a line of a status file.
func statusLine(path, key string) string {
	for line := range strings.Lines(slurp(path)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// tree are the pids of the tree that the holder holds: everything below it but
// supervisors and the first process of a pid namespace that was made for it.
func (h *holder) tree() (pids []int) {
	for _, p := range descendants(h.cmd.Process.Pid) {
		exe, _ := os.Readlink(procPath(p, "exe"))
		ns := ids(p, "NSpid")
		if exe == supervise || len(ns) > 1 && ns[len(ns)-1] == 1 {
			continue
		}
		if len(ns) == 0 {
			continue // gone meanwhile
		}
		pids = append(pids, p)
	}
	return pids
}

// states tells the state of every thread: "123/124 S".
func states(pids []int) (list []string) {
	for _, p := range pids {
		for _, tid := range numbers(procPath(p, "task")) {
			s := statField(procPath(p, "task", strconv.Itoa(tid), "stat"), 3)
			list = append(list, fmt.Sprintf("%d/%d %s", p, tid, s))
		}
	}
	return list
}

// tracers tells which of the threads have a tracer.
func tracers(pids []int) (list []string) {
	for _, p := range pids {
		for _, tid := range numbers(procPath(p, "task")) {
			if by := statusLine(procPath(p, "task", strconv.Itoa(tid), "status"), "TracerPid"); by != "0" && by != "" {
				list = append(list, fmt.Sprintf("%d/%d is traced by %s", p, tid, by))
			}
		}
	}
	return list
}

// busyThreads are those not asleep, stopped or dead.
func busyThreads(pids []int) (busy []string) {
	for _, s := range states(pids) {
		switch s[len(s)-1] {
		case 'S', 'T', 'Z', 'X':
		default:
			busy = append(busy, s)
		}
	}
	return busy
}

// unharmed tells what is wrong with a tree that should run: tasks in a
// ptrace-stop, tracers. It gives what has just ended a moment.
func unharmed(pids []int) string {
	var wrong []string
	for range 200 {
		wrong = tracers(pids)
		for _, s := range states(pids) {
			if strings.HasSuffix(s, " t") {
				wrong = append(wrong, s)
			}
		}
		if len(wrong) == 0 {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return strings.Join(wrong, ", ")
}

// killTree ends a tree by SIGKILL, until none of it is left. It is stopped
// before, every thread of it, so that none sees another process die and says so:
// one that computes goes on until another has taken the signal. Children go before
// their parents: a stopped group that loses its last parent outside is woken
// by SIGHUP and SIGCONT.
func (h *holder) killTree() {
	h.t.Helper()
	for range 200 {
		for _, p := range h.tree() {
			syscall.Kill(p, syscall.SIGSTOP)
		}
		if !slices.ContainsFunc(states(h.tree()), func(s string) bool { return !strings.ContainsAny(s[len(s)-1:], "TZX") }) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	wait(h.t, "kill of the tree", 20*time.Second, func() string {
		left := descendants(h.cmd.Process.Pid)
		for _, p := range slices.Backward(h.tree()) {
			syscall.Kill(p, syscall.SIGKILL)
		}
		for _, p := range left { // a supervisor stops when its program does
			syscall.Kill(p, syscall.SIGCONT)
		}
		if len(left) > 0 {
			return fmt.Sprintf("left: %v %v", left, states(left))
		}
		return ""
	})
}
