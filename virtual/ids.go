package virtual

// Process ids that are translated (restart --ids=translate), for who may neither
// choose ids nor make a namespace in which they are free.
//
// The tree gets new ids from the kernel and goes on using its old ones, its own.
// There are three ways to answer a call that is about ids:
//
//   - What only tells an id, such as getpid, is answered at once (idtell.go).
//   - A call that takes ids is passed to the kernel where none of them is the
//     tree's own. Otherwise it is made in the thread that waits in it, held for
//     that moment, with the kernel's ids in place of the own ones (idcall.go): the
//     kernel checks rights and sends signals as if the thread had made it. So does
//     a call with a name under /proc of an own id, and, since what it returns must
//     be translated, a call that waits for children of own ids (idwait.go).
//   - What cannot be translated fails with ENOSYS: calls on priority-inheritance
//     futexes, in whose words the kernel looks for ids, and calls with six
//     arguments or of rare use that are given an own id.
//
// Own ids and those of the kernel have no number in common, which the restorer sees
// to. A number that is neither is the kernel's: new processes and threads are
// known by what clone(2) returned. It must not return an own id, nor again one that
// an alias is of: before a task is made, such numbers just ahead are taken up
// (idguard.go).
//
// The tree sees new numbers where there is no call to answer: in siginfo_t of
// signals, in SCM_CREDENTIALS, in listings of /proc and files there. As an
// argument of a call both numbers are understood.

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// AliasSet is Aliases in the form in which others use it; nil for none.
func (r *Rules) AliasSet() *task.Aliases {
	if r == nil || !r.Translate {
		return nil
	}
	return task.NewAliases(r.Aliases)
}

// translator answers calls that are about process ids.
type translator struct {
	aliases *task.Aliases
	guard   *guard
	holding sync.Mutex // one thread at a time is held: processes have room for one of us

	mu    sync.Mutex
	tried map[uint32]time.Time // threads that found no child that they wait for
}

func newTranslator(list []task.Alias) *translator {
	return &translator{aliases: task.NewAliases(list), guard: newGuard(list), tried: map[uint32]time.Time{}}
}

// idHandlers answer the calls. Those that are in argIDs as well are made with
// other arguments.
var idHandlers = map[uint32]func(*translator, *caller) answer{
	unix.SYS_GETPID:  (*translator).getpid,
	unix.SYS_GETTID:  (*translator).gettid,
	unix.SYS_GETPPID: (*translator).getppid,
	unix.SYS_GETPGRP: (*translator).getpgid,
	unix.SYS_GETPGID: (*translator).getpgid,
	unix.SYS_GETSID:  (*translator).getsid,

	unix.SYS_WAIT4:  (*translator).wait4,
	unix.SYS_WAITID: (*translator).waitid,

	unix.SYS_CLONE:  (*translator).clone,
	unix.SYS_CLONE3: (*translator).clone,
	unix.SYS_FORK:   (*translator).clone,
	unix.SYS_VFORK:  (*translator).clone,

	unix.SYS_FCNTL:      (*translator).owner,
	unix.SYS_IOCTL:      (*translator).terminal,
	unix.SYS_GETSOCKOPT: (*translator).peer,
}

// Arguments of fcntl(2) and getsockopt(2) that matter.
const (
	fSetOwnEx, fGetOwnEx = 15, 16
	tiocgsid             = 0x5429
)

// idEntries are what the filter does about calls for one of whose arguments there
// are cases.
var idEntries = []entry{
	{nr: unix.SYS_FCNTL, arg: 1, cases: asked(unix.F_GETOWN, unix.F_SETOWN, fSetOwnEx, fGetOwnEx)},
	{nr: unix.SYS_GETSOCKOPT, arg: 2, cases: asked(unix.SO_PEERCRED)},
	{nr: unix.SYS_FUTEX, arg: 1, cases: piFutexes()},
}

// idRequests are those of ioctl(2).
var idRequests = asked(unix.TIOCGPGRP, unix.TIOCSPGRP, tiocgsid)

func asked(values ...uint32) []argCase {
	var cases []argCase
	for _, v := range values {
		cases = append(cases, argCase{v, unix.SECCOMP_RET_USER_NOTIF})
	}
	return cases
}

// piFutexes are the operations on priority-inheritance futexes, which fail: LOCK_PI,
// UNLOCK_PI, TRYLOCK_PI, WAIT_REQUEUE_PI, CMP_REQUEUE_PI, LOCK_PI2 (Linux
// include/uapi/linux/futex.h), with each flag.
func piFutexes() []argCase {
	const private, realtime = 128, 256
	var cases []argCase
	for _, op := range []uint32{6, 7, 8, 11, 12, 13} {
		for _, flags := range []uint32{0, private, realtime, private | realtime} {
			cases = append(cases, argCase{op | flags, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
		}
	}
	return cases
}

// idCalls lists the calls that are always asked about.
func idCalls() []uint32 {
	var nrs []uint32
	for nr := range uint32(maxNr) {
		_, handled := idHandlers[nr]
		_, ids := argIDs[nr]
		_, path := argPaths[nr]
		if (handled || ids || path) && nr != unix.SYS_FCNTL && nr != unix.SYS_IOCTL && nr != unix.SYS_GETSOCKOPT {
			nrs = append(nrs, nr)
		}
	}
	return nrs
}

const maxNr = 512

// answer answers a call, if it is one about ids.
func (tr *translator) answer(t *caller) (answer, bool) {
	nr := uint32(t.nr &^ x32Bit)
	handler, ok := idHandlers[nr]
	if args, takes := argIDs[nr]; takes {
		handler, ok = func(tr *translator, t *caller) answer { return tr.withIDs(t, args) }, true
	}
	if arg, takes := argPaths[nr]; takes {
		handler, ok = func(tr *translator, t *caller) answer { return tr.withPath(t, arg) }, true
	}
	if !ok || nr == unix.SYS_IOCTL && !isTerminalRequest(t.args[1]) {
		return pass, false
	}
	if tr.guard.took(task.ID(t.tid)) {
		return failed(unix.ENOSYS), true // it has a number that is another's
	}
	what := handler(tr, t)
	_, paths := argPaths[nr]
	return what, !paths || !what.pass // rules about files may be about it, too
}

// status is what the kernel says of the caller.
func (t *caller) status() (procfs.Status, error) {
	st, err := procfs.ReadStatus(int(t.tid))
	if err == nil && !t.still() {
		err = unix.ESRCH
	}
	return st, err
}

// tell answers with the own id of what the kernel calls so.
func (tr *translator) tell(kernel int) answer {
	return answer{val: int64(tr.aliases.Own(task.ID(kernel)))}
}

func (tr *translator) gettid(t *caller) answer { return tr.tell(int(t.tid)) }

func (tr *translator) getpid(t *caller) answer {
	st, err := t.status()
	if err != nil {
		return failed(unix.ENOSYS)
	}
	return tr.tell(st.TGID)
}

// getppid: a parent outside is 0 where it is in another pid namespace.
func (tr *translator) getppid(t *caller) answer {
	st, err := t.status()
	if err != nil {
		return failed(unix.ENOSYS)
	}
	return tr.tell(st.PPID)
}

func (tr *translator) getpgid(t *caller) answer {
	return tr.ofProcess(t, t.nr == unix.SYS_GETPGRP, func(st *procfs.Status) []int { return st.NSpgid })
}

func (tr *translator) getsid(t *caller) answer {
	return tr.ofProcess(t, false, func(st *procfs.Status) []int { return st.NSsid })
}

// ofProcess tells an id of the process that the first argument names, or the caller's.
func (tr *translator) ofProcess(t *caller, self bool, get func(*procfs.Status) []int) answer {
	pid := int(t.tid)
	if asked := task.ID(int32(t.args[0])); asked != 0 && !self {
		if asked < 0 {
			return failed(unix.ESRCH)
		}
		pid = int(tr.aliases.Kernel(asked))
	}
	st, err := procfs.ReadStatus(pid)
	if err != nil || len(get(&st)) == 0 {
		return failed(unix.ESRCH)
	}
	return tr.tell(get(&st)[0])
}

// peer answers getsockopt(2) for SO_PEERCRED.
func (tr *translator) peer(t *caller) answer {
	if t.args[1] != unix.SOL_SOCKET {
		return pass
	}
	fd, err := t.descriptor(int(int32(t.args[0])))
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	var size [4]byte
	if err != nil || t.readAll(size[:], t.args[4]) != nil || binary.NativeEndian.Uint32(size[:]) < unix.SizeofUcred {
		return pass
	}
	var b []byte
	for _, v := range []uint32{uint32(tr.aliases.Own(task.ID(cred.Pid))), cred.Uid, cred.Gid} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	binary.NativeEndian.PutUint32(size[:], unix.SizeofUcred)
	if errno := t.write(t.args[3], b); errno != 0 {
		return failed(errno)
	}
	return failed(t.write(t.args[4], size[:]))
}

// pidMax is the number after which the kernel begins anew.
func pidMax() int {
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	n, err2 := strconv.Atoi(string(trimLine(b)))
	if err != nil || err2 != nil {
		return 1 << 22
	}
	return n
}

func trimLine(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		return b[:n-1]
	}
	return b
}

// checkIDs makes sure of the aliases.
func (r *Rules) checkIDs() error {
	set := r.AliasSet()
	if len(r.Aliases) > 0 && !r.Translate {
		return fmt.Errorf("virtual: %d aliases of ids, and no translation", len(r.Aliases))
	}
	if id, clash := set.Clash(); clash {
		return fmt.Errorf("virtual: id %d is the tree's and the kernel's", id)
	}
	return nil
}
