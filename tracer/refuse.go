package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

// refusals are the properties of a process that cannot be captured. Each
// check says why, or nothing.
var refusals = []struct {
	what  string
	check func(*process) string
	hint  string
}{
	{"seccomp filter", refuseSeccomp, "start the program without its sandbox"},
	{"32-bit program", refuse32Bit, ""},
	{"namespaces", refuseNamespaces, "run supervise inside the container"},
	{"scheduling policy", refusePolicy, "start the program with the normal policy"},
	{"AMX tiles", refuseTiles, "take the snapshot when no matrix multiplication is going on"},
	{"shadow stack", refuseShadowStack, "set GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK"},
	{"working directory", refuseCwd, "let the program change to a directory that exists"},
	{"root directory", refuseRoot, "run supervise inside the same root directory"},
}

func (s *snapshot) refuse(p *process, what, why, hint string) {
	s.refused.Add(refuse.Object{PID: int(p.held.PID), Comm: p.facts.Stat.Comm, What: what, Why: why, Hint: hint})
}

func (s *snapshot) refuseProcesses() {
	for _, p := range s.procs {
		for _, r := range refusals {
			if why := r.check(p); why != "" {
				s.refuse(p, r.what, why, r.hint)
			}
		}
	}
}

func refuseSeccomp(p *process) string {
	if p.facts.Status.Seccomp != 0 {
		return fmt.Sprintf("%d filter(s) installed, mode %d", p.facts.Status.SeccompFilters, p.facts.Status.Seccomp)
	}
	return ""
}

// refuse32Bit knows a 32-bit task by its code segment (Linux
// arch/x86/include/asm/segment.h:__USER32_CS).
func refuse32Bit(p *process) string {
	for _, t := range p.held.Threads {
		if t.Regs.Cs == 0x23 {
			return fmt.Sprintf("task %d runs 32-bit code", t.TID)
		}
	}
	return ""
}

func refusePolicy(p *process) string {
	for _, t := range p.held.Threads {
		attr, err := unix.SchedGetAttr(int(t.TID), 0)
		if err != nil {
			return err.Error()
		}
		if attr.Policy == unix.SCHED_DEADLINE {
			return fmt.Sprintf("thread %d has a deadline", t.TID)
		}
	}
	return ""
}

// refuseTiles: the kernel lets a tracer set tile data only in a thread that
// has used it (Linux arch/x86/kernel/fpu/xstate.c:validate_user_xstate_header).
func refuseTiles(p *process) string {
	const header, tileData = 512, 1 << 18
	for _, t := range p.held.Threads {
		x, err := t.XState()
		if err != nil {
			return err.Error()
		}
		if len(x) > header+8 && binary.LittleEndian.Uint64(x[header:])&tileData != 0 {
			return fmt.Sprintf("tiles of thread %d hold data", t.TID)
		}
	}
	return ""
}

func refuseShadowStack(p *process) string {
	for _, f := range p.facts.Status.ThreadFeatures {
		if f == "shstk" {
			return "in use"
		}
	}
	return ""
}

func refuseCwd(p *process) string {
	cwd, err := procfs.Cwd(int(p.held.PID))
	if err != nil {
		return err.Error()
	}
	var there, now unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/cwd", p.held.PID), &now); err != nil {
		return err.Error()
	}
	err = unix.Stat(fmt.Sprintf("/proc/%d/root%s", p.held.PID, cwd), &there)
	if err != nil || there.Dev != now.Dev || there.Ino != now.Ino {
		return cwd + " has been deleted or replaced"
	}
	return ""
}

func refuseRoot(p *process) string {
	theirs, err := procfs.Root(int(p.held.PID))
	if err != nil {
		return err.Error()
	}
	if theirs != "/" {
		return "changed to " + theirs
	}
	return ""
}

// refuseNamespaces allows our own namespaces, and those that a restart made
// for the tree.
func refuseNamespaces(p *process) string {
	restarted := insideRestart(p)
	for _, name := range []string{"mnt", "pid", "user", "time", "net", "ipc", "uts"} {
		theirs, err := procfs.Namespace(int(p.held.PID), name)
		if err != nil {
			return err.Error()
		}
		ours, err := procfs.Namespace(os.Getpid(), name)
		if err != nil {
			return err.Error()
		}
		if theirs != ours && !(restarted && madeByRestart[name]) && name != "time" {
			return "in another " + name + " namespace"
		}
	}
	return ""
}

// madeByRestart are the namespaces that a restart makes.
var madeByRestart = map[string]bool{"mnt": true, "pid": true, "user": true}

// insideRestart tells whether the process lives under the init of a restart:
// the topmost ancestor in its pid namespace is one.
func insideRestart(p *process) bool {
	depth := len(p.facts.Status.NSpid)
	for pid := p.facts.Stat.PPID; pid > 1; {
		st, err := procfs.ReadStatus(pid)
		if err != nil || len(st.NSpid) != depth {
			return false
		}
		if st.NSpid[depth-1] == 1 {
			return st.Name == task.InitName
		}
		pid = st.PPID
	}
	return false
}

// Types of kcmp(2) (Linux include/uapi/linux/kcmp.h).
const (
	kcmpVM      = 1
	kcmpFiles   = 2
	kcmpFS      = 3
	kcmpSighand = 4
)

// Things that processes can share (man 2 kcmp), and how clone(2) calls it.
var shareable = []struct {
	kcmp int
	what string
}{
	{kcmpVM, "memory (CLONE_VM)"},
	{kcmpFiles, "descriptor table (CLONE_FILES)"},
	{kcmpFS, "working directory (CLONE_FS)"},
	{kcmpSighand, "signal handlers (CLONE_SIGHAND)"},
}

// refuseSharing finds processes that share what normally only threads do, and
// threads that do not share it.
func (s *snapshot) refuseSharing() error {
	for _, sh := range shareable {
		procs := append([]*process(nil), s.procs...)
		var failed error
		sort.Slice(procs, func(i, j int) bool {
			order, err := kcmp(procs[i].held.PID, procs[j].held.PID, sh.kcmp)
			failed = errors.Join(failed, err)
			return order == 1
		})
		if failed != nil {
			return failed
		}
		for i := 1; i < len(procs); i++ {
			order, err := kcmp(procs[i-1].held.PID, procs[i].held.PID, sh.kcmp)
			if err != nil {
				return err
			}
			if order == 0 {
				s.refuse(procs[i], sh.what, fmt.Sprintf("shared with pid %d", procs[i-1].held.PID), "")
			}
		}
	}
	return s.refuseUnshared()
}

func (s *snapshot) refuseUnshared() error {
	for _, p := range s.procs {
		for _, t := range p.held.Threads[1:] {
			for _, sh := range shareable[1:3] {
				order, err := kcmp(p.held.PID, task.PID(t.TID), sh.kcmp)
				if err != nil {
					return err
				}
				if order != 0 {
					s.refuse(p, fmt.Sprintf("thread %d", t.TID), "does not share its process's "+sh.what, "")
				}
			}
		}
	}
	return nil
}

// kcmp is kcmp(2): 0 equal, 1 less, 2 greater.
func kcmp(a, b task.PID, what int) (int, error) {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(what), 0, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("kcmp pid %d and %d: %w", a, b, errno)
	}
	return int(order), nil
}
