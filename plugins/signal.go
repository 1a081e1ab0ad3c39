package plugins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/plugins/client"
)

// quieting is a plugin that is built in: before a snapshot it sends the root a
// signal, and waits until the program has got ready; when the program goes on,
// in the original or in a copy, it sends another.
type quieting struct {
	before, after syscall.Signal // 0: none
	deadline      time.Duration
	ready         string // a file that the program makes when it is ready, or ""
}

// signals makes the plugin of "SIGNAL[:DEADLINE[:FILE]]" and "SIGNAL", of which
// one may be empty.
func signals(before, after string) (*Plugin, error) {
	q := &quieting{deadline: 2 * usualDeadline}
	name, rest, _ := strings.Cut(before, ":")
	limit, ready, _ := strings.Cut(rest, ":")
	var err error
	if before != "" {
		if q.before, err = signalOf(name); err != nil {
			return nil, err
		}
	}
	if limit != "" {
		if q.deadline, err = time.ParseDuration(limit); err != nil || q.deadline <= 0 || q.deadline > maxDeadline {
			return nil, fmt.Errorf("signal %s: %q is no time up to %v", before, limit, maxDeadline)
		}
	}
	if q.ready = ready; ready != "" && !filepath.IsAbs(ready) {
		return nil, fmt.Errorf("signal %s: %q is not a full path", before, ready)
	}
	if after != "" {
		if q.after, err = signalOf(after); err != nil {
			return nil, err
		}
	}
	return builtIn("signal", q.event, client.BeforeFreeze, client.Resumed, client.SnapshotFail, client.Restarted), nil
}

// signalOf reads USR1, SIGUSR1 or 10.
func signalOf(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 || sig == unix.SIGKILL || sig == unix.SIGSTOP {
		return 0, fmt.Errorf("%q is no signal that a program can handle", name)
	}
	return sig, nil
}

func (q *quieting) event(e client.Event) (*Reply, error) {
	if e.Snapshot == nil || e.Snapshot.RootPID == 0 {
		return nil, nil
	}
	pid := e.Snapshot.RootPID
	if e.Name == client.BeforeFreeze {
		return nil, q.quiet(pid)
	}
	if q.ready != "" {
		if err := os.Remove(q.ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if q.after == 0 {
		return nil, nil
	}
	return nil, q.send(pid, q.after)
}

// send sends a signal that the program has a handler for: any other could end
// it. That a thread has it blocked says nothing: shells do for a moment.
func (q *quieting) send(pid int, sig syscall.Signal) error {
	st, err := procfs.ReadStatus(pid)
	if err != nil {
		return err
	}
	if set := uint64(1) << (sig - 1); sig != unix.SIGCONT && st.SigCgt&set == 0 {
		return fmt.Errorf("process %d has no handler for %s", pid, unix.SignalName(sig))
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err)
	}
	return nil
}

// quiet sends the signal, and waits until the program has made the file or,
// without one, until it has handled the signal: it does not wait to be taken
// any more, and no thread is in the handler, which has it blocked (man 2
// sigaction, SA_NODEFER).
func (q *quieting) quiet(pid int) error {
	if q.before == 0 {
		return nil
	}
	if q.ready != "" {
		if err := os.Remove(q.ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	ever, _, err := blocking(pid, q.before)
	if err != nil {
		return err
	}
	if err := q.send(pid, q.before); err != nil {
		return err
	}
	const pause, enough = 10 * time.Millisecond, 2
	quiet := 0
	for end := time.Now().Add(q.deadline); quiet < enough; time.Sleep(pause) {
		if time.Now().After(end) {
			return q.late(pid)
		}
		done, err := q.done(pid, ever)
		if err != nil {
			return err
		}
		if quiet++; !done {
			quiet = 0
		}
	}
	return nil
}

func (q *quieting) late(pid int) error {
	if q.ready != "" {
		return fmt.Errorf("process %d has not made %s within %v of %s", pid, q.ready, q.deadline, unix.SignalName(q.before))
	}
	return fmt.Errorf("process %d has not handled %s within %v", pid, unix.SignalName(q.before), q.deadline)
}

// done tells whether the program is ready. ever are the threads that always
// have the signal blocked.
func (q *quieting) done(pid int, ever map[int]bool) (bool, error) {
	if st, err := procfs.ReadStat(pid); err != nil || st.Dead() {
		return false, errors.Join(fmt.Errorf("process %d has ended after %s", pid, unix.SignalName(q.before)), err)
	}
	if q.ready != "" {
		_, err := os.Stat(q.ready)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	now, waits, err := blocking(pid, q.before)
	for tid := range now {
		waits = waits || !ever[tid]
	}
	return !waits, err
}

// blocking lists the threads of a process that have a signal blocked, and tells
// whether it waits to be taken.
func blocking(pid int, sig syscall.Signal) (threads map[int]bool, waits bool, err error) {
	set := uint64(1) << (sig - 1)
	tids, err := procfs.Tasks(pid)
	if err != nil {
		return nil, false, err
	}
	threads = map[int]bool{}
	for _, tid := range tids {
		st, err := procfs.ReadTaskStatus(pid, tid)
		if err != nil {
			continue // it has ended
		}
		waits = waits || (st.SigPnd|st.ShdPnd)&set != 0
		if st.SigBlk&set != 0 {
			threads[tid] = true
		}
	}
	return threads, waits, nil
}
