package integration

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// leftBehind are the System V objects that programs have made, by the calls that
// remove them. Most are gone: their program has ended well.
var leftBehind struct {
	sync.Mutex
	calls [][4]uintptr
}

// noteSysV notes the objects that a killed program may have left: each notes
// what it makes (sysv.h).
func (p *place) noteSysV() {
	leftBehind.Lock()
	defer leftBehind.Unlock()
	for line := range strings.Lines(slurp(p.logFile() + ".ipc")) {
		kind, which, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, _ := strconv.ParseUint(which, 10, 32)
		switch kind {
		case "shm":
			leftBehind.calls = append(leftBehind.calls, [4]uintptr{unix.SYS_SHMCTL, uintptr(id), unix.IPC_RMID})
		case "sem":
			leftBehind.calls = append(leftBehind.calls, [4]uintptr{unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID})
		case "msg":
			leftBehind.calls = append(leftBehind.calls, [4]uintptr{unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID})
		case "mq":
			unlinkQueue(p.t, which)
		default:
			p.t.Errorf("note of an object: %q", line)
		}
	}
}

// removeSysV removes them when all programs have ended: until then another one
// may have got an id that is free again.
func removeSysV() {
	for _, c := range leftBehind.calls {
		unix.Syscall(c[0], c[1], c[2], c[3])
	}
}

// TestSysVOutside checks that System V objects which processes outside the
// tree use as well are refused by name.
func TestSysVOutside(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("sysvoutside"))
		before := j.settle()
		child := descendants(j.root)[0]
		r := p.supervise(nil, "checkpoint", strconv.Itoa(child), "--image", p.path("image"))
		for _, says := range []string{"attached 1 time(s) outside the tree", "semaphore array", "message queue", fmt.Sprintf("process %d outside the tree uses it, too", j.root), "left running"} {
			if r.code != 3 || !strings.Contains(r.err, says) {
				t.Errorf("exit code %d, does not say %q: %s", r.code, says, r.err)
			}
		}
		p.nothingIn("image")
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestOfAnotherUser has root take and restart the snapshot of a tree that is an
// ordinary user's, with objects that are, too.
func TestOfAnotherUser(t *testing.T) {
	if len(users()) < 2 {
		t.Skip("needs root")
	}
	for _, name := range []string{"sysvshm", "sysvsem", "sysvmsg", "mqueues"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, nobody)
			prog := row(t, name)
			j := p.start(prog)
			before := j.settle()
			p.user = root
			p.checkpoint(j.pid(), p.path("image"), "--stop")
			j.gone()
			again := p.restart(prog, p.path("image"))
			again.like(before)
			again.finish(1)
		})
	}
}
