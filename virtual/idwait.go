package virtual

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// waiting is a call that waits for children.
type waiting struct {
	*caller
	what    task.ID // that it names, as it does: a child, or a group; 0: neither
	options uint64
	make    func(b *task.Batch, options uint64) *task.Call
	found   func(c *task.Call) (bool, error) // it has found a child; what it says is translated
}

// again is how soon a thread that found nothing is held again, at the soonest, and
// how often it is looked whether a child has stopped, which no pidfd tells.
const again = 30 * time.Millisecond

func (tr *translator) wait4(t *caller) answer {
	w := waiting{caller: t, options: t.args[2], what: task.ID(int32(t.args[0]))}
	if w.what == -1 {
		w.what = 0
	}
	pid := task.ID(int32(t.args[0]))
	kernel := tr.aliases.Kernel(pid)
	if pid < -1 {
		kernel = -tr.aliases.Kernel(-pid)
	}
	w.make = func(b *task.Batch, options uint64) *task.Call {
		return addCall(b, unix.SYS_WAIT4, uint64(int64(kernel)), t.args[1], options, t.args[3])
	}
	w.found = func(c *task.Call) (bool, error) {
		if c.Ret > 0 {
			c.Ret = int64(tr.aliases.Own(task.ID(c.Ret)))
		}
		return c.Ret != 0, nil
	}
	return tr.wait(&w)
}

func (tr *translator) waitid(t *caller) answer {
	w := waiting{caller: t, options: t.args[3]}
	id := t.args[1]
	if t.args[0] == unix.P_PID || t.args[0] == unix.P_PGID {
		w.what = task.ID(int32(id))
		id = uint64(int64(tr.aliases.Kernel(w.what)))
	}
	info := make([]byte, 128)
	w.make = func(b *task.Batch, options uint64) *task.Call {
		return b.Add(unix.SYS_WAITID, t.args[0], id, info, options, t.args[4]).Optional()
	}
	w.found = func(c *task.Call) (bool, error) {
		field := info[pidInInfo:]
		pid := task.ID(binary.NativeEndian.Uint32(field))
		if c.Err() == nil && pid == 0 && w.options&unix.WNOHANG == 0 {
			return false, nil
		}
		binary.NativeEndian.PutUint32(field, uint32(tr.aliases.Own(pid)))
		if c.Err() == nil && t.args[2] != 0 {
			if task.Write(task.PID(t.tid), task.Addr(t.args[2]), info[:waitInfoSize]) != nil {
				c.Ret = -int64(unix.EFAULT)
			}
		}
		return true, nil
	}
	return tr.wait(&w)
}

// siginfo_t as waitid(2) fills it in: si_signo, si_errno, si_code, 4 bytes that it
// leaves, si_pid, si_uid, si_status (Linux kernel/exit.c:waitid, v6.18).
const (
	pidInInfo    = 16
	waitInfoSize = 28
)

// wait makes the call as soon as it has something to tell. A call that no child of
// an own id can end passes: the kernel lets it wait.
func (tr *translator) wait(w *waiting) answer {
	st, err := w.status()
	if err != nil {
		return answer{done: true}
	}
	children, err := procfs.Children(st.TGID)
	if err != nil {
		return answer{done: true}
	}
	own := func(pid int) bool { return tr.aliases.Own(task.ID(pid)) != task.ID(pid) }
	named := w.what != 0 && (tr.aliases.Kernel(w.what) != w.what || w.what < 0 && tr.aliases.Kernel(-w.what) != -w.what)
	if !named && !slices.ContainsFunc(children, own) {
		return pass
	}
	pids := children
	if w.what > 0 && uint64(w.args[0]) != unix.P_PGID {
		pids = []int{int(tr.aliases.Kernel(w.what))}
	}
	if w.options&unix.WNOHANG == 0 && !tr.awaitChild(w, pids, children) {
		return answer{done: true} // a signal has interrupted it
	}
	return tr.waitNow(w)
}

// awaitChild waits until there may be something to tell, or the call is over.
func (tr *translator) awaitChild(w *waiting, pids, children []int) bool {
	tr.mu.Lock()
	last := tr.tried[w.tid]
	delete(tr.tried, w.tid)
	tr.mu.Unlock()
	time.Sleep(time.Until(last.Add(again)))
	var fds []unix.PollFd
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if len(fds) == 0 || len(children) == 0 {
		return w.still() // an error, or a thread's child that is not to be had
	}
	for w.still() {
		n, err := unix.Poll(fds, int(again/time.Millisecond))
		if err == nil && n > 0 || w.options&unix.WCONTINUED != 0 || slices.ContainsFunc(pids, stopped) && w.options&unix.WSTOPPED != 0 {
			return true
		}
	}
	return false
}

func stopped(pid int) bool {
	st, err := procfs.ReadStat(pid)
	return err != nil || st.State == 'T' || st.State == 't'
}

// waitNow makes the call, without waiting. If there is nothing, the thread makes it
// once more, and is asked about again.
func (tr *translator) waitNow(w *waiting) answer {
	return tr.holdFor(w.caller, func(p *task.Process) error {
		var b task.Batch
		call := w.make(&b, w.options|unix.WNOHANG)
		if err := p.RunHeld(&b); err != nil {
			return err
		}
		found, err := w.found(call)
		if err != nil {
			return err
		}
		if found || w.options&unix.WNOHANG != 0 {
			p.Leader().Return(call.Ret)
			return nil
		}
		tr.mu.Lock()
		tr.tried[w.tid] = time.Now()
		tr.mu.Unlock()
		return nil
	})
}
