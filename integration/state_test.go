package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A state is what the kernel shows of a tree, one fact a line: "12 umask: 0022"
// of a process, "12/13 name: x" of a thread. Ids are those that the tree itself
// sees. The lines are in a fixed order.
type state []string

// A scope says how much of a tree stands still enough to be compared.
type scope int

const (
	all      scope = iota // everything
	nothing               // it may end at any moment
	rootOnly              // the root's attributes: the tree forks or starts threads all the time
)

// observe takes the state of a tree. root is the host pid of its root.
func observe(pids []int, root int, how scope) state {
	switch how {
	case rootOnly:
		pids = []int{root}
	case nothing:
		return nil
	}
	o := observer{host: pids, how: how}
	pids = slices.Clone(pids)
	slices.SortFunc(pids, func(a, b int) int { return inner(a) - inner(b) })
	for _, p := range pids {
		o.process(p)
	}
	return o.lines
}

type observer struct {
	host  []int // pids of the tree, as we see them
	how   scope
	lines state
}

func (o *observer) add(who, key, format string, args ...any) {
	o.lines = append(o.lines, fmt.Sprintf("%s %s: "+format, append([]any{who, key}, args...)...))
}

// process observes one process.
func (o *observer) process(pid int) {
	who := strconv.Itoa(inner(pid))
	status := procPath(pid, "status")
	if strings.HasPrefix(statusLine(status, "State"), "Z") {
		o.zombie(pid, who)
		return
	}
	for _, key := range []string{"Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb",
		"NoNewPrivs", "Seccomp", "SigIgn", "SigCgt", "VmLck", "THP_enabled"} {
		o.add(who, key, "%s", statusLine(status, key))
	}
	if o.how == all {
		o.add(who, "ShdPnd", "%s", statusLine(status, "ShdPnd"))
		o.add(who, "parent", "%s", o.parent(pid))
	}
	o.add(who, "group", "%s", o.leader(pid, "NSpgid"))
	o.add(who, "session", "%s", o.leader(pid, "NSsid"))
	for _, link := range []string{"exe", "cwd", "root"} {
		target, _ := os.Readlink(procPath(pid, link))
		o.add(who, link, "%s", target)
	}
	for _, file := range []string{"cmdline", "environ", "auxv", "personality", "oom_score_adj", "coredump_filter"} {
		o.add(who, file, "%q", slurp(procPath(pid, file)))
	}
	for line := range strings.Lines(slurp(procPath(pid, "limits"))) {
		o.add(who, "limit", "%s", strings.Join(strings.Fields(line), " "))
	}
	o.numbers(pid, who)
	if o.how == rootOnly {
		return
	}
	o.threads(pid, who)
	o.maps(pid, who)
	o.fds(pid, who)
	o.timers(pid, who)
}

// zombie observes what is left of a process that is not waited for yet.
func (o *observer) zombie(pid int, who string) {
	o.add(who, "zombie", "%s, uid %s, exit code %s", slurp(procPath(pid, "comm")), statusLine(procPath(pid, "status"), "Uid"),
		statField(procPath(pid, "stat"), 52))
	o.add(who, "parent", "%s", o.parent(pid))
	o.add(who, "group", "%s", o.leader(pid, "NSpgid"))
	o.add(who, "session", "%s", o.leader(pid, "NSsid"))
}

// numbers observes fields of the stat file, by their names in proc(5).
func (o *observer) numbers(pid int, who string) {
	fields := []struct {
		n    int
		name string
	}{{19, "nice"}, {38, "exit_signal"}, {40, "rt_priority"}, {41, "policy"}, {26, "startcode"}, {27, "endcode"}, {28, "startstack"},
		{45, "start_data"}, {46, "end_data"}, {47, "start_brk"}, {48, "arg_start"}, {49, "arg_end"}, {50, "env_start"}, {51, "env_end"}}
	for _, f := range fields {
		o.add(who, f.name, "%s", statField(procPath(pid, "stat"), f.n))
	}
}

// parent is the parent's pid, if it is of the tree.
func (o *observer) parent(pid int) string {
	parent, _ := strconv.Atoi(statusLine(procPath(pid, "status"), "PPid"))
	if slices.Contains(o.host, parent) {
		return strconv.Itoa(inner(parent))
	}
	return "outside"
}

// leader is a group or session id, unless it is one from outside the tree.
func (o *observer) leader(pid int, key string) string {
	list := ids(pid, key)
	if len(list) == 0 || list[len(list)-1] == 0 {
		return "outside"
	}
	_, err := os.Stat(procPath(list[0]))
	if err == nil && !slices.Contains(o.host, list[0]) {
		return "outside"
	}
	return strconv.Itoa(list[len(list)-1])
}

// threads observes the threads, with the place where each waits.
func (o *observer) threads(pid int, who string) {
	for _, tid := range numbers(procPath(pid, "task")) {
		dir := procPath(pid, "task", strconv.Itoa(tid))
		list := strings.Fields(statusLine(dir+"/status", "NSpid"))
		if len(list) == 0 {
			continue
		}
		thread := who + "/" + list[len(list)-1]
		for _, key := range []string{"Name", "SigBlk", "SigPnd"} {
			o.add(thread, key, "%q", statusLine(dir+"/status", key))
		}
		s := statField(dir+"/stat", 3)
		if s == "R" || s == "D" || s == "S" {
			s = "runs"
		}
		o.add(thread, "state", "%s", s)
		for _, f := range []struct {
			n    int
			name string
		}{{19, "nice"}, {41, "policy"}} {
			o.add(thread, f.name, "%s", statField(dir+"/stat", f.n))
		}
		o.add(thread, "cpus", "%s", statusLine(dir+"/status", "Cpus_allowed"))
		// The number is left out: an interrupted sleep becomes restart_syscall.
		if call := strings.Fields(slurp(dir, "syscall")); len(call) >= 3 {
			o.add(thread, "waits", "sp %s pc %s", call[len(call)-2], call[len(call)-1])
		} else {
			o.add(thread, "waits", running)
		}
	}
}

// running is said of a thread that waits nowhere.
const running = "not, it runs"

// A region is a stretch of mappings that are alike.
type region struct {
	start, end, offset uint64
	perms, file, flags string
}

// ignoredFlags are in VmFlags for no reason of the program's.
var ignoredFlags = map[string]string{
	"ac": "counted for overcommit: set when a mapping first became writable, without any effect on the program",
	"sd": "soft-dirty: set for every new mapping, where the kernel has it",
}

// maps observes mappings. Neighbours that are alike count as one, since the
// kernel merges them or not, depending on their history.
func (o *observer) maps(pid int, who string) {
	var regions []region
	for line := range strings.Lines(slurp(procPath(pid, "smaps"))) {
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && len(regions) > 0 {
			regions[len(regions)-1].flags = keptFlags(flags)
			regions = mergeLast(regions)
		} else if r, ok := parseRegion(line); ok {
			regions = append(regions, r)
		}
	}
	for _, r := range regions {
		o.add(who, "map", "%x-%x %s %x %s [%s]", r.start, r.end, r.perms, r.offset, r.file, r.flags)
	}
}

func keptFlags(flags string) string {
	var kept []string
	for _, f := range strings.Fields(flags) {
		if ignoredFlags[f] == "" {
			kept = append(kept, f)
		}
	}
	return strings.Join(kept, " ")
}

// parseRegion parses the first line of a mapping.
func parseRegion(line string) (r region, ok bool) {
	var dev string
	var ino uint64
	n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %d", &r.start, &r.end, &r.perms, &r.offset, &dev, &ino)
	if n != 6 {
		return r, false
	}
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
	r.file = strings.TrimLeft(strings.TrimLeft(fields[5], "0123456789"), " ")
	if ino != 0 {
		r.file = fmt.Sprintf("%s %d %s", dev, ino, r.file)
	}
	return r, true
}

// mergeLast merges the last region into the one before it if they are alike.
func mergeLast(rs []region) []region {
	if len(rs) < 2 {
		return rs
	}
	a, b := &rs[len(rs)-2], rs[len(rs)-1]
	file := strings.HasPrefix(b.file, "0") || strings.Contains(b.file, "/")
	if a.end != b.start || a.perms != b.perms || a.file != b.file || a.flags != b.flags ||
		file && a.offset+(a.end-a.start) != b.offset {
		return rs
	}
	a.end = b.end
	return rs[:len(rs)-1]
}

// fds observes descriptors.
func (o *observer) fds(pid int, who string) {
	for _, fd := range numbers(procPath(pid, "fd")) {
		n := strconv.Itoa(fd)
		target, _ := os.Readlink(procPath(pid, "fd", n))
		lines := strings.Split(slurp(procPath(pid, "fdinfo", n)), "\n")
		for i, l := range lines {
			lines[i] = strings.Join(strings.Fields(l), " ")
		}
		slices.Sort(lines[min(len(lines), 4):]) // the targets of an epoll instance have no order
		o.add(who, "fd "+n, "%s %s", target, strings.Join(lines, " "))
	}
}

// timers observes POSIX timers.
func (o *observer) timers(pid int, who string) {
	for line := range strings.Lines(slurp(procPath(pid, "timers"))) {
		o.add(who, "timer", "%s", strings.TrimSpace(line))
	}
}
