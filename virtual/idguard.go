package virtual

import (
	"bytes"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// guard keeps the kernel from giving a new process of the tree a number that is an
// own id of another. The kernel hands out numbers in ascending order, and begins
// anew at the end (Linux kernel/pid.c:alloc_pid, v6.18): when one is near, the
// answerer takes all numbers up to it, and keeps it: by a child that has ended and
// that nobody waits for.
type guard struct {
	mu   sync.Mutex
	born uint64           // when the answerer was started
	own  map[task.ID]bool // true: kept
	most int
}

// ahead is how near a number must be. That many may be handed out between the
// answer to clone(2) and its number.
const ahead = 300

func newGuard(list []task.Alias) *guard {
	g := &guard{own: map[task.ID]bool{}, most: pidMax()}
	if st, err := procfs.ReadStat(os.Getpid()); err == nil {
		g.born = st.StartTime
	}
	for _, a := range list {
		g.own[a.Own] = false
	}
	return g
}

// took tells whether a task of the tree has an own id of another for its number, in
// spite of all: then nobody can tell which of them is meant.
func (g *guard) took(id task.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, own := g.own[id]
	if !own || kept {
		return false
	}
	return g.mayBeOurs(int(id))
}

// clone makes way for the number of a new task.
func (tr *translator) clone(*caller) answer {
	g := tr.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 2 * ahead {
		last, ok := lastPID()
		if !ok || !g.near(last) {
			break
		}
		pid, errno := endedChild()
		if errno != 0 {
			return failed(unix.EAGAIN)
		}
		if _, own := g.own[task.ID(pid)]; own {
			g.own[task.ID(pid)] = true // kept
			continue
		}
		reap(pid)
	}
	return pass
}

// near tells whether an own id that is free, or of a process that may end, comes soon.
func (g *guard) near(last int) bool {
	for own, kept := range g.own {
		if kept {
			continue
		}
		distance := int(own) - last
		if distance <= 0 {
			distance += g.most
		}
		if distance <= ahead && free(int(own)) {
			return true
		}
	}
	return false
}

func free(id int) bool { return unix.Kill(id, 0) == unix.ESRCH && unix.Kill(-id, 0) == unix.ESRCH }

// lastPID is the number that was handed out last: the end of /proc/loadavg.
func lastPID() (int, bool) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(trimLine(b[bytes.LastIndexByte(b, ' ')+1:])))
	return n, err == nil
}

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != unix.EINTR {
			return
		}
	}
}

// mayBeOurs tells whether a process may be one of the tree that was made since: a
// younger one than us, of this user, under a filter.
func (g *guard) mayBeOurs(pid int) bool {
	st, err := procfs.ReadStatus(pid)
	if err != nil || st.Seccomp == 0 || st.UIDs[1] != os.Geteuid() {
		return false
	}
	stat, err := procfs.ReadStat(pid)
	return err == nil && stat.StartTime >= g.born
}
