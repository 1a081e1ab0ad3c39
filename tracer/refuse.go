package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/cpu"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/taskstate"
)

// refusals are the properties of a process that cannot be captured. Each
// check says why, or nothing.
var refusals = []struct {
	what  string
	check func(*process) string
	hint  string
}{
	{"seccomp filter", refuseSeccomp, "take the snapshot as root, or start the program without its sandbox; if that is run --no-io-uring or --virtualize, name the job and its --dir"},
	{"32-bit program", refuse32Bit, ""},
	{"namespaces", refuseNamespaces, "run supervise inside the container"},
	{"AMX tiles", refuseTiles, "take the snapshot when no matrix multiplication is going on"},
	{"POSIX timers", func(p *process) string { return taskstate.TimerProblem(p.held) }, "use SIGEV_THREAD_ID, or a clock of pthread_getcpuclockid"},
	{"shadow stack", refuseShadowStack, "set GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK"},
	{"working or root directory", func(p *process) string { return taskstate.FSProblem(p.held) }, "let the program change to a directory that has its name"},
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
		s.refuseDispatch(p)
		s.refuseNet(p)
	}
}

// refuseNet refuses a tree that lives in several network namespaces. That it is
// not ours is no reason.
func (s *snapshot) refuseNet(p *process) {
	theirs, err := procfs.Namespace(int(p.held.PID), "net")
	if err != nil {
		s.refuse(p, "network namespace", err.Error(), "")
		return
	}
	if root, err := procfs.Namespace(int(s.procs[0].held.PID), "net"); err != nil || root != theirs {
		s.refuse(p, "network namespace", "not that of the tree's root", "take snapshots of the parts of the tree by themselves")
	}
}

// refuseSeccomp refuses filters that we may not read, or not suspend.
func refuseSeccomp(p *process) string {
	for i, t := range p.held.Threads {
		st := &p.facts.Threads[i]
		if !p.facts.Seccomped(st) {
			continue
		}
		if _, err := p.facts.ReadSeccomp(t, st); err != nil {
			return fmt.Sprintf("%d filter(s) in mode %d: %v", st.SeccompFilters, st.Seccomp, err)
		}
	}
	return ""
}

// refuseSandbox refuses a process in which calls cannot be made safely, which
// only the attempt tells.
func (s *snapshot) refuseSandbox(p *process, err error) bool {
	var filtered *task.FilteredError
	if !errors.Is(err, taskstate.ErrConfined) && !errors.As(err, &filtered) {
		return false
	}
	s.refuse(p, "sandbox", err.Error(), "start the program without its sandbox")
	return true
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

// refuseTiles: the kernel lets a tracer set tile data only in a thread that
// has used it (Linux arch/x86/kernel/fpu/xstate.c:validate_user_xstate_header).
func refuseTiles(p *process) string {
	const header, tileData = 512, 1 << 18
	if !cpu.X86.HasAMXTile {
		return ""
	}
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

// refuseDispatch refuses threads in code that Wine and its like run for another
// system. They may leave it at any moment.
func (s *snapshot) refuseDispatch(p *process) {
	for _, t := range p.held.Threads {
		if why := taskstate.DispatchProblem(t); why != "" {
			s.refused.Add(refuse.Object{PID: int(p.held.PID), Comm: p.facts.Stat.Comm, What: fmt.Sprintf("thread %d", t.TID),
				Why: why + " (syscall user dispatch)", Hint: "try again", Passing: true})
		}
	}
}

func refuseShadowStack(p *process) string {
	for _, f := range p.facts.Status.ThreadFeatures {
		if f == "shstk" {
			return "in use"
		}
	}
	return ""
}

// refuseNamespaces allows our own namespaces, and those that a restart made
// for the tree.
func refuseNamespaces(p *process) string {
	restarted := insideRestart(p)
	for _, name := range []string{"mnt", "pid", "user", "time", "ipc", "uts"} {
		theirs, err := procfs.Namespace(int(p.held.PID), name)
		if err != nil {
			return err.Error()
		}
		ours, err := procfs.OwnNamespace(name)
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
var madeByRestart = map[string]bool{"mnt": true, "pid": true, "user": true, "ipc": true}

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
