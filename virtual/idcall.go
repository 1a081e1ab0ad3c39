package virtual

import (
	"encoding/binary"
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// argKind is how an argument names a process, a thread, a group.
type argKind int

const (
	isID      argKind = iota // of a process or a thread
	isTarget                 // as in kill(2): a group, if negative
	isRefused                // the call fails, if it is given an own id
)

// idArg is an argument that is an id.
type idArg struct {
	at   int
	kind argKind
}

var oneID = []idArg{{0, isID}}

// argIDs are the calls that take ids. What has six arguments cannot be marked as ours.
var argIDs = map[uint32][]idArg{
	unix.SYS_KILL:                  {{0, isTarget}},
	unix.SYS_TKILL:                 oneID,
	unix.SYS_TGKILL:                {{0, isID}, {1, isID}},
	unix.SYS_RT_SIGQUEUEINFO:       oneID,
	unix.SYS_RT_TGSIGQUEUEINFO:     {{0, isID}, {1, isID}},
	unix.SYS_PIDFD_OPEN:            oneID,
	unix.SYS_SETPGID:               {{0, isID}, {1, isID}},
	unix.SYS_SCHED_SETPARAM:        oneID,
	unix.SYS_SCHED_GETPARAM:        oneID,
	unix.SYS_SCHED_SETSCHEDULER:    oneID,
	unix.SYS_SCHED_GETSCHEDULER:    oneID,
	unix.SYS_SCHED_RR_GET_INTERVAL: oneID,
	unix.SYS_SCHED_SETAFFINITY:     oneID,
	unix.SYS_SCHED_GETAFFINITY:     oneID,
	unix.SYS_SCHED_SETATTR:         oneID,
	unix.SYS_SCHED_GETATTR:         oneID,
	unix.SYS_PRLIMIT64:             oneID,
	unix.SYS_GETPRIORITY:           {{1, isID}},
	unix.SYS_SETPRIORITY:           {{1, isID}},
	unix.SYS_IOPRIO_GET:            {{1, isID}},
	unix.SYS_IOPRIO_SET:            {{1, isID}},
	unix.SYS_GET_ROBUST_LIST:       oneID,
	unix.SYS_KCMP:                  {{0, isID}, {1, isID}},
	unix.SYS_PERF_EVENT_OPEN:       {{1, isID}},
	unix.SYS_MIGRATE_PAGES:         oneID,
	unix.SYS_MOVE_PAGES:            {{0, isRefused}},
	unix.SYS_PROCESS_VM_READV:      {{0, isRefused}},
	unix.SYS_PROCESS_VM_WRITEV:     {{0, isRefused}},
	task.TraceCall:                 {{1, isRefused}},
}

// argPaths are the calls that take a path, and which argument that is.
var argPaths = map[uint32]int{
	unix.SYS_OPEN: 0, unix.SYS_STAT: 0, unix.SYS_LSTAT: 0, unix.SYS_ACCESS: 0, unix.SYS_READLINK: 0, unix.SYS_CHDIR: 0,
	unix.SYS_OPENAT: 1, unix.SYS_OPENAT2: 1, unix.SYS_NEWFSTATAT: 1, unix.SYS_STATX: 1, unix.SYS_FACCESSAT: 1, unix.SYS_FACCESSAT2: 1,
	unix.SYS_READLINKAT: 1,
}

// withIDs makes a call with the kernel's ids, or lets it pass where it has them.
func (tr *translator) withIDs(t *caller, ids []idArg) answer {
	if s := tr.toSelf(t); s != nil {
		return tr.signalSelf(t, s)
	}
	args, same := t.args, true
	for _, a := range ids {
		own := task.ID(int32(t.args[a.at]))
		kernel := tr.aliases.Kernel(own)
		if a.kind == isTarget && own < -1 {
			kernel = -tr.aliases.Kernel(-own)
		}
		if kernel == own {
			continue
		}
		if a.kind == isRefused || tr.guard.took(own) {
			return failed(unix.ENOSYS)
		}
		args[a.at], same = uint64(int64(kernel)), false
	}
	if same {
		return pass
	}
	return tr.within(t, func(b *task.Batch) (*task.Call, func() error) {
		return addCall(b, uintptr(t.nr), args[:5]...), nil
	})
}

func addCall(b *task.Batch, nr uintptr, args ...uint64) *task.Call {
	var list []any
	for _, a := range args {
		list = append(list, a)
	}
	return b.Add(nr, list...).Optional()
}

// withPath makes a call with another path, where it is one of an own id.
func (tr *translator) withPath(t *caller, at int) answer {
	name, err := t.readString(t.args[at])
	if err != nil || !strings.HasPrefix(name, "/proc/") {
		return pass
	}
	if nr := t.nr &^ x32Bit; nr == unix.SYS_READLINK || nr == unix.SYS_READLINKAT {
		if what, ok := tr.selfLink(t, name, at); ok {
			return what
		}
	}
	real := tr.realPath(name)
	if real == name {
		return pass
	}
	return tr.within(t, func(b *task.Batch) (*task.Call, func() error) {
		var list []any
		for i, a := range t.args[:5] {
			if i == at {
				list = append(list, real)
			} else {
				list = append(list, a)
			}
		}
		return b.Add(uintptr(t.nr), list...).Optional(), nil
	})
}

// realPath puts the kernel's ids into a path under /proc.
func (tr *translator) realPath(name string) string {
	parts := strings.Split(path.Clean(name), "/") // "", "proc", PID, "task", TID
	changed := false
	for _, i := range []int{2, 4} {
		if i >= len(parts) || i == 4 && parts[3] != "task" {
			break
		}
		own, err := strconv.Atoi(parts[i])
		if err != nil {
			continue
		}
		if kernel := tr.aliases.Kernel(task.ID(own)); kernel != task.ID(own) {
			parts[i], changed = strconv.Itoa(int(kernel)), true
		}
	}
	if !changed {
		return name
	}
	return strings.Join(parts, "/")
}

// selfLink answers readlink(2) of /proc/self and /proc/thread-self.
func (tr *translator) selfLink(t *caller, name string, at int) (answer, bool) {
	if name != "/proc/self" && name != "/proc/thread-self" {
		return answer{}, false
	}
	st, err := t.status()
	if err != nil {
		return failed(unix.ENOSYS), true
	}
	text := strconv.Itoa(int(tr.aliases.Own(task.ID(st.TGID))))
	if name == "/proc/thread-self" {
		text += "/task/" + strconv.Itoa(int(tr.aliases.Own(task.ID(t.tid))))
	}
	room := int(min(t.args[at+2], uint64(len(text))))
	if room == 0 {
		return failed(unix.EINVAL), true
	}
	if errno := t.write(t.args[at+1], []byte(text[:room])); errno != 0 {
		return failed(errno), true
	}
	return answer{val: int64(room)}, true
}

// within makes a call in the thread that waits, and has that return what it gives.
// add puts it into a batch; what it wants to be done then is done while the thread
// is held. A thread that is held by another, such as for a snapshot, makes its call
// once more when that is over.
func (tr *translator) within(t *caller, add func(*task.Batch) (*task.Call, func() error)) answer {
	return tr.holdFor(t, func(p *task.Process) error {
		var b task.Batch
		call, then := add(&b)
		if err := p.RunHeld(&b); err != nil {
			return err
		}
		if then != nil {
			if err := then(); err != nil {
				return err
			}
		}
		p.Leader().Return(call.Ret)
		return nil
	})
}

// patience is how long a thread is tried to be held.
const patience = 2 * time.Second

func (tr *translator) holdFor(t *caller, fn func(*task.Process) error) answer {
	st, err := t.status()
	if err != nil {
		return answer{done: true} // it is gone
	}
	tr.holding.Lock()
	defer tr.holding.Unlock()
	args := t.args
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err = task.OnThread(func() error {
			p, err := task.Hold(task.PID(st.TGID), task.TID(t.tid), patience)
			if err != nil {
				return err
			}
			if p.Leader().Waits(uint64(uint32(t.nr)), args) {
				err = fn(p)
			}
			return errors.Join(err, p.Release())
		})
		if err == nil || !t.still() {
			return answer{done: true}
		}
		if time.Now().After(end) {
			return failed(unix.ENOSYS)
		}
	}
}

// owner answers fcntl(2) about who gets signals.
func (tr *translator) owner(t *caller) answer {
	switch t.args[1] {
	case unix.F_SETOWN:
		return tr.withIDs(t, []idArg{{2, isTarget}})
	case unix.F_GETOWN:
		return tr.within(t, func(b *task.Batch) (*task.Call, func() error) {
			c := addCall(b, unix.SYS_FCNTL, t.args[:3]...)
			return c, func() error {
				if c.Ret < -4095 || c.Ret > 0 {
					c.Ret = int64(tr.aliases.Own(task.ID(c.Ret)))
				} else {
					c.Ret = -int64(tr.aliases.Own(task.ID(-c.Ret)))
				}
				return nil
			}
		})
	}
	buf := make([]byte, 8) // struct f_owner_ex: type, pid
	if t.args[1] == fSetOwnEx {
		if t.readAll(buf, t.args[2]) != nil {
			return pass
		}
		return tr.withBuffer(t, buf, 4, true)
	}
	return tr.withBuffer(t, buf, 4, false)
}

func isTerminalRequest(request uint64) bool {
	r := uint32(request)
	return r == unix.TIOCGPGRP || r == unix.TIOCSPGRP || r == tiocgsid
}

// terminal answers ioctl(2) about the groups and sessions of a terminal.
func (tr *translator) terminal(t *caller) answer {
	buf := make([]byte, 4)
	if uint32(t.args[1]) == unix.TIOCSPGRP {
		if t.readAll(buf, t.args[2]) != nil {
			return pass
		}
		return tr.withBuffer(t, buf, 0, true)
	}
	return tr.withBuffer(t, buf, 0, false)
}

// withBuffer makes a call whose third argument points to an id, at an offset: one
// that it takes (in), or that it gives.
func (tr *translator) withBuffer(t *caller, buf []byte, at int, in bool) answer {
	id := func() task.ID { return task.ID(int32(binary.NativeEndian.Uint32(buf[at:]))) }
	if in {
		kernel := tr.aliases.Kernel(id())
		if kernel == id() {
			return pass
		}
		binary.NativeEndian.PutUint32(buf[at:], uint32(kernel))
	}
	return tr.within(t, func(b *task.Batch) (*task.Call, func() error) {
		c := b.Add(uintptr(t.nr), t.args[0], t.args[1], buf).Optional()
		return c, func() error {
			if in || c.Err() != nil {
				return nil
			}
			binary.NativeEndian.PutUint32(buf[at:], uint32(tr.aliases.Own(id())))
			if task.Write(task.PID(t.tid), task.Addr(t.args[2]), buf) != nil {
				c.Ret = -int64(unix.EFAULT)
			}
			return nil
		}
	})
}
