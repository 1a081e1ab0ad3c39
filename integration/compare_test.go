package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A rule rewrites facts that may differ, with the reason why.
type rule struct {
	match *regexp.Regexp
	to    string
	why   string
}

// always are the rules for comparing a tree with itself before a snapshot.
var always = []rule{
	{regexp.MustCompile(`it_value: \([0-9, ]+\)`), "", "time goes on"},
	{regexp.MustCompile(` ticks: \d+`), "", "a periodic timer ticks"},
	{regexp.MustCompile(`(tid: \d+ comm:) .*`), "$1", "whoever is being told"},
	{regexp.MustCompile(`(/dev/net/tun) pos: \d+`), "$1", "counts bytes, of the system's own packets as well, and means nothing"},
}

// afterRestart are the further rules for comparing a restarted tree with the
// one that a snapshot was taken of. What they let through is all that a program
// that looks at its own /proc could notice.
var afterRestart = []rule{
	{regexp.MustCompile(` mnt_id: \d+`), "", "mounts have new ids in a new mount namespace"},
	{regexp.MustCompile(` ino: ?[0-9a-f]+`), "", "new pipes, memfds and anonymous inodes have new numbers"},
	{regexp.MustCompile(` sdev:[0-9a-f]+`), "", "the same, and devices of terminals of the tree's own, as epoll shows its targets"},
	{regexp.MustCompile(` eventfd-id: \d+`), "", "counted by the kernel since boot"},
	{regexp.MustCompile(`(lock: \d+: \w+ \w+ \w+)( -?\d+)? [0-9a-f]+:[0-9a-f]+:\d+`), "$1", "pids are shown as the reader sees them; a file may have been put back"},
	{regexp.MustCompile(` (NSpid:( \d+)+|Pid: \d+)`), "", "pidfd: pids as the reader sees them"},
	{regexp.MustCompile(`(timer: notify: \w+/[pt]id)\.\d+`), "$1", "pids as the reader sees them"},
	{regexp.MustCompile(`(map: \S+ \S+ \S+) [0-9a-f]+:[0-9a-f]+ \d+ `), "$1 ", "devices and inodes of shared memory are new; a file's path stays"},
	{regexp.MustCompile(`/\S*/nameless-fifo \(deleted\)`), "pipe:[1]", "a fifo without a name comes back as a pipe"},
	{regexp.MustCompile(`/\S*/(#\d+|[^/ ]*) \(deleted\)`), "a deleted file", "a file without a name is made anew"},
	{regexp.MustCompile(`(map: \S+ \S+) \S+ /(memfd:)?anon_hugepage `), "$1 0 huge pages", "shared huge pages come back as a memfd, private ones with an offset of their own"},
	{regexp.MustCompile(`(a deleted file .*\[rd.* ms) nr\]`), "$1]", "reserved or not: shared memory is made anew in another way"},
	{regexp.MustCompile(`(/dev/shm/.*flags: 02?)5(\d{5}) `), "${1}1$2 ", "O_NOFOLLOW: was for the open alone, by shm_open"},
	{regexp.MustCompile(`(a deleted file .*flags: )020300002`), "${1}0100002", "O_TMPFILE: a nameless file is made anew in another way"},
	{regexp.MustCompile(`events: 400000(00|18) `), "events: disarmed ", "EPOLLONESHOT that has fired cannot be made; it still reports errors"},
	{regexp.MustCompile(`\S*/d2/other name `), "a deleted file ", "a file whose name was removed is opened by another of its names"},
	{regexp.MustCompile(` f_handle:[0-9a-f]+`), "", "inotify: a file without a name is made anew"},
	{regexp.MustCompile(`Seccomp: \d`), "", "not compared: refused if used"},
}

// detached are the rules for a tree that was restarted with --detach.
var detached = []rule{
	{regexp.MustCompile(`^\d+ (session|group): .*`), "", "what led outside now leads to a session of its own"},
}

// userNamespace are the rules for a tree that came back in a user namespace.
var userNamespace = []rule{
	{regexp.MustCompile(`Groups: .*`), "Groups:", "an ordinary user may not set supplementary groups in a user namespace"},
}

var numbered = regexp.MustCompile(`\b(pipe|socket):\[\d+\]`)

// canonical applies rules, and numbers pipes in the order in which they appear,
// so that sharing is compared and not the numbers.
func (s state) canonical(sets ...[]rule) state {
	seen := make(map[string]string)
	number := func(old string) string {
		if seen[old] == "" {
			kind, _, _ := strings.Cut(old, ":")
			seen[old] = fmt.Sprintf("%s:#%d", kind, len(seen)+1)
		}
		return seen[old]
	}
	out := slices.Clone(s)
	for i, line := range out {
		for _, set := range sets {
			for _, r := range set {
				line = r.match.ReplaceAllString(line, r.to)
			}
		}
		if len(sets) > 1 {
			line = numbered.ReplaceAllStringFunc(line, number)
		}
		out[i] = line
	}
	return out
}

// diff tells the lines that only one of two states has.
func diff(before, after state) string {
	count := make(map[string]int)
	for _, l := range before {
		count[l]++
	}
	var more []string
	for _, l := range after {
		if count[l] > 0 {
			count[l]--
		} else {
			more = append(more, "+ "+l)
		}
	}
	var less []string
	for _, l := range before {
		if count[l] > 0 {
			count[l]--
			less = append(less, "- "+l)
		}
	}
	lines := append(less, more...)
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[2:min(len(a), 14)], b[2:min(len(b), 14)]) })
	if len(lines) > 60 {
		lines = append(lines[:60], fmt.Sprintf("... and %d more", len(lines)-60))
	}
	for i, l := range lines {
		if len(l) > 400 {
			lines[i] = l[:400] + "..."
		}
	}
	return strings.Join(lines, "\n")
}

// settle waits until every thread of a tree sleeps, and gives the state then.
func settle(t testing.TB, pids func() []int, root int, how scope) state {
	t.Helper()
	if how == nothing {
		return nil
	}
	var last state
	quiet := 0
	wait(t, "every thread asleep", 20*time.Second, func() string {
		if busy := busyThreads(pids()); how == all && len(busy) > 0 {
			quiet = 0
			return strings.Join(busy[:min(len(busy), 5)], ", ")
		}
		now := observe(pids(), root, how)
		if slices.ContainsFunc(now, func(l string) bool { return strings.HasSuffix(l, running) }) {
			return "a thread runs"
		}
		if quiet++; quiet < 2 || diff(last.canonical(always), now.canonical(always)) != "" {
			last = now
			return "states differ"
		}
		return ""
	})
	return last
}

// expect waits a moment for a tree to be as want.
func expect(t testing.TB, what string, want state, get func() state, sets ...[]rule) {
	t.Helper()
	var d string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if d = diff(want.canonical(sets...), get().canonical(sets...)); d == "" {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Errorf("the tree is not the same %s (- before, + after):\n%s", what, d)
}
