package virtual

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// AnswererName is the name under which this program is the answerer. Its main
// function must call [Answer] then.
const AnswererName = "supervise-answerer"

// Descriptors of the answerer.
const (
	rulesFD = 3 + iota
	listenerFD
	readyFD
)

// answerer answers the calls of programs under one filter.
type answerer struct {
	listener listener
	rules    Rules
	uts      string         // our own UTS namespace
	files    map[string]int // memfds with the content of Rules.Files
	ids      *translator    // of process ids, or nil
	idle     atomic.Int32   // workers that wait for a call
}

// answer is what becomes of a call.
type answer struct {
	errno   unix.Errno // not 0: it fails
	fd      int        // not 0: it returns a copy of this descriptor of ours, which is closed
	cloexec bool       // the copy
	val     int64      // what it returns else
	pass    bool       // the kernel makes it as if nobody had asked
	done    bool       // it has been made, or is made once more and asked about again
}

// pass lets a call be made as it is.
var pass = answer{pass: true}

// failed is a call that has failed, or that has been made and returns 0.
func failed(errno unix.Errno) answer { return answer{errno: errno} }

// Answer is the life of the answerer. It gives the exit code.
func Answer() int {
	// It ends by itself, after the programs that it answers.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
		unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGPIPE)
	_ = os.WriteFile("/proc/self/comm", []byte(AnswererName), 0) // for who looks at lists of processes
	ready := os.NewFile(readyFD, "ready")
	a, err := newAnswerer()
	if err != nil {
		fmt.Fprintln(ready, err)
		return 1
	}
	go a.work()
	go a.work()
	if _, err := io.WriteString(ready, readyLine); err != nil {
		return 1
	}
	ready.Close()
	return a.awaitEnd()
}

func newAnswerer() (*answerer, error) {
	a := &answerer{listener: listenerFD, files: map[string]int{}}
	for fd := range readyFD + 1 {
		unix.CloseOnExec(fd)
	}
	if err := json.NewDecoder(os.NewFile(rulesFD, "rules")).Decode(&a.rules); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if err := a.rules.Check(); err != nil {
		return nil, err
	}
	if a.rules.Translate {
		a.ids = newTranslator(a.rules.Aliases)
	}
	var err error
	if a.uts, err = os.Readlink("/proc/self/ns/uts"); err != nil {
		return nil, err
	}
	for i := range a.rules.Files {
		f := &a.rules.Files[i]
		if f.Missing {
			continue
		}
		if a.files[f.Path], err = contentFile(f); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	a.listener.hurry()
	return a, nil
}

// awaitEnd waits until no task is under the filter any more (Linux
// kernel/seccomp.c:seccomp_notify_poll).
func (a *answerer) awaitEnd() int {
	fds := []unix.PollFd{{Fd: int32(a.listener)}} // hang-ups are always told
	for {
		_, err := unix.Poll(fds, -1)
		if err == nil && fds[0].Revents&unix.POLLHUP != 0 {
			return 0
		}
		if err != nil && err != unix.EINTR {
			return 1
		}
	}
}

// work answers calls. An answer may take its time (a file system of which the
// program is the server may be asked for a name), so there is always one more who
// waits for the next call.
func (a *answerer) work() {
	const most = 4 // idle at the same time
	for a.idle.Load() < most {
		a.idle.Add(1)
		var n notification
		errno := a.listener.receive(&n)
		left := a.idle.Add(-1)
		if errno == unix.ENOENT || errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return // awaitEnd knows
		}
		if left == 0 {
			go a.work()
		}
		a.reply(&n, a.answer(&n))
	}
}

// answer finds out what to say to a call.
func (a *answerer) answer(n *notification) answer {
	t := &caller{notification: n, listener: a.listener}
	defer t.close()
	if what, ok := a.fixed(t); ok {
		return what
	}
	if a.rules.Translate {
		if what, ok := a.ids.answer(t); ok {
			return what
		}
	}
	switch n.nr &^ x32Bit {
	case unix.SYS_UNAME:
		return a.uname(t)
	case unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2:
		return a.open(t)
	case unix.SYS_CONNECT, unix.SYS_BIND:
		return a.useAddress(t)
	case unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME:
		return a.tellAddress(t)
	case unix.SYS_IOCTL:
		return a.hardwareAddr(t)
	}
	return pass
}

// reply says it.
func (a *answerer) reply(n *notification, what answer) {
	if what.fd != 0 {
		what.errno = a.listener.sendFD(n.id, what.fd, what.cloexec)
		unix.Close(what.fd)
		if what.errno == 0 {
			return
		}
	}
	if what.done {
		return
	}
	r := response{id: n.id, err: -int32(what.errno)}
	if what.errno == 0 {
		r.val = what.val
	}
	if what.pass {
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	a.listener.send(r)
}
