package restorer

import (
	"fmt"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/memstate"
	"supervise/netstate"
	"supervise/taskstate"
)

// InitName is the name of the builder, which becomes the init of the tree's
// pid namespace.
const InitName = task.InitName

// statusFD is the builder's descriptor for the wait status of the root.
const statusFD = 3

// build starts the builder: a bare process that has what all processes of the
// tree inherit.
func (r *restart) build() error {
	if err := r.startBuilder(); err != nil {
		return err
	}
	if err := r.checkCPU(); err != nil {
		return err
	}
	if err := r.emptyBuilder(); err != nil {
		return fmt.Errorf("empty the builder: %w", err)
	}
	if r.ids.namespace {
		init, err := r.builder.EnterNamespaces()
		if err != nil {
			return &HostError{Why: "cannot make namespaces", Err: err, Hint: "see `supervise check`"}
		}
		r.builder = init
	}
	if err := r.namespaces(); err != nil {
		return err
	}
	if err := r.shared(); err != nil {
		return err
	}
	return r.virtualize()
}

// builderCaps are the capabilities that the builder uses in its own user
// namespace. They must be ambient, since execve(2) takes all others from a
// program that is not uid 0 there.
var builderCaps = []uintptr{
	unix.CAP_SYS_ADMIN,        // mount, unshare(CLONE_NEWTIME), clone3 with set_tid, PR_SET_MM_MAP with an exe
	unix.CAP_SYS_CHROOT,       // names of sockets that lead nowhere
	unix.CAP_SYS_TIME,         // timens_offsets
	unix.CAP_SETPCAP,          // to give up capabilities of the bounding set, and for securebits
	unix.CAP_SYS_PTRACE,       // to fetch pidfds from one another, where Yama restricts that
	unix.CAP_NET_ADMIN,        // addresses in a network namespace of the tree's own
	unix.CAP_NET_BIND_SERVICE, // low ports there
}

// startBuilder starts our own program, held at its first instruction, which
// it never makes.
func (r *restart) startBuilder() error {
	attr := &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2},
		Env:   []string{},
		Sys:   &syscall.SysProcAttr{Setsid: r.opts.Detach},
	}
	if r.ids.namespace {
		if err := r.openStatus(attr); err != nil {
			return err
		}
	}
	status := len(attr.Files) > statusFD
	r.passGiven(attr)
	if r.ids.user {
		attr.Sys.Cloneflags |= unix.CLONE_NEWUSER
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		attr.Sys.AmbientCaps = builderCaps
	}
	program := "/proc/self/exe"
	if r.ids.limited {
		program = r.tree.Processes[0].Mem.MM.Exe
	}
	builder, err := task.Start(program, []string{InitName}, attr)
	if status {
		unix.Close(int(attr.Files[statusFD]))
	}
	if err != nil {
		return &HostError{Why: "cannot start a process for the restart", Err: err, Hint: "see `supervise check`"}
	}
	r.builder = builder
	if r.ids.translate {
		r.aliases = task.NewAliases(nil)
		builder.Aliases = r.aliases
	}
	builder.Identify(task.ID(builder.PID))
	st, err := procfs.ReadStatus(int(builder.PID))
	if err != nil {
		return err
	}
	r.base.Creds = taskstate.CredsOf(&st)
	return r.pin()
}

// pin keeps the builder, and what it forks, on one cpu with us until each
// thread gets its own cpus back. Tracer and tracee only ever take turns, and
// handing over to another cpu takes several times as long.
func (r *restart) pin() error {
	if err := unix.SchedGetaffinity(int(r.builder.PID), &r.base.CPUs); err != nil {
		return fmt.Errorf("cpus of the builder: %w", err)
	}
	var one unix.CPUSet
	for cpu := 0; one.Count() == 0; cpu++ {
		if r.base.CPUs.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	for _, tid := range []int{0, int(r.builder.PID)} {
		if err := unix.SchedSetaffinity(tid, &one); err != nil {
			return fmt.Errorf("keep on one cpu: %w", err)
		}
	}
	return nil
}

func (r *restart) openStatus(attr *syscall.ProcAttr) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	r.status = os.NewFile(uintptr(p[0]), "root's wait status")
	attr.Files = append(attr.Files, uintptr(p[1]))
	return nil
}

// emptyBuilder leaves nothing in the builder but the parasite, so that its
// children fork quickly and every address is free.
func (r *restart) emptyBuilder() error {
	if err := r.empty(r.builder); err != nil {
		return err
	}
	if err := r.builder.UnbindFromParent(); err != nil {
		return err
	}
	var b task.Batch
	b.Add(unix.SYS_PRCTL, unix.PR_SET_NAME, InitName)
	first := statusFD // what our own caller left open for us is not the tree's
	if r.status != nil {
		first++
	}
	first += len(r.givenAt)
	b.Add(unix.SYS_CLOSE_RANGE, first, math.MaxUint32, 0)
	return r.builder.Run(&b)
}

// namespaces completes the builder's namespaces: a /proc that shows the new
// pid namespace, and a time namespace for its children in which the tree's
// clocks go on from where they were.
func (r *restart) namespaces() error {
	if r.ids.namespace {
		var b task.Batch
		b.Add(unix.SYS_MOUNT, "none", "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
		b.Add(unix.SYS_MOUNT, "proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
		if err := r.builder.Run(&b); err != nil {
			return &HostError{Why: "cannot mount a fresh /proc", Err: err, Hint: "parts of /proc may be hidden here; see `supervise check`"}
		}
	}
	if r.private {
		if err := r.mountTerminals(); err != nil {
			return err
		}
	}
	if r.ids.ipc {
		if err := r.ipcNamespace(); err != nil {
			return err
		}
	}
	if r.ids.net {
		if err := r.tree.Net.Restore(r.builder); err != nil {
			return err
		}
	}
	if r.ids.limited {
		return nil // its clocks are the host's
	}
	offsets, err := r.tree.Clocks.Offsets()
	if err != nil {
		return err
	}
	if _, err := r.builder.Call(unix.SYS_UNSHARE, unix.CLONE_NEWTIME); err != nil {
		return &HostError{Why: "cannot make a time namespace", Err: err, Hint: "see `supervise check`"}
	}
	return r.writeOffsets(offsets)
}

// mountTerminals gives the tree terminals of its own, so that it finds all
// numbers free (Linux Documentation/filesystems/devpts.rst).
func (r *restart) mountTerminals() error {
	var b task.Batch
	b.Add(unix.SYS_MOUNT, "devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
	b.Add(unix.SYS_MOUNT, "/dev/pts/ptmx", "/dev/ptmx", 0, unix.MS_BIND, 0)
	if err := r.builder.Run(&b); err != nil {
		return &HostError{Why: "cannot mount terminals of the tree's own", Err: err, Hint: "free the numbers of its terminals in /dev/pts"}
	}
	return nil
}

func (r *restart) writeOffsets(offsets string) error {
	fd, err := r.builder.Call(unix.SYS_OPEN, "/proc/self/timens_offsets", unix.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("time namespace: %w", err)
	}
	var b task.Batch
	b.Add(unix.SYS_WRITE, fd, []byte(offsets), len(offsets))
	b.Add(unix.SYS_CLOSE, fd)
	if err := r.builder.Run(&b); err != nil {
		return fmt.Errorf("set the tree's clocks: %w", err)
	}
	return nil
}

// shared makes what processes of the tree share: memory objects, filled, and
// descriptors.
func (r *restart) shared() error {
	if err := raiseFiles(r.builder.PID); err != nil {
		return err
	}
	r.sockets = netstate.New(nil)
	r.sockets.Image, r.sockets.Private = r.im.Manifest().ID, r.ids.net
	kinds := r.sockets.WithFiles()
	_, free := r.builder.Occupied()
	free += task.PageSize
	if r.vdso != nil {
		r.vdsoAt = free
		free += r.vdso.Size() + task.PageSize
	}
	r.objects = memstate.NewObjectRestorer(r.wanted, free)
	err := r.findTerminals(kinds)
	if err != nil {
		return err
	}
	if r.files, err = fdstate.NewRestorer(r.tree.Files, kinds, r.objects.FD); err != nil {
		return err
	}
	if r.status != nil {
		if err := r.moveStatus(); err != nil {
			return err
		}
	}
	if err := r.moveGiven(); err != nil {
		return err
	}
	if err := r.objects.Create(r.builder, r.files.Reserve); err != nil {
		return err
	}
	if err := r.objects.Fill(r.builder, r.im, r.progress()); err != nil {
		return err
	}
	return r.files.OpenShared(r.builder, r.keeper)
}

// raiseFiles raises the builder's limit of descriptors as far as may be: its
// numbers lie above those of every process.
func raiseFiles(pid task.PID) error {
	var l unix.Rlimit
	if err := unix.Prlimit(int(pid), unix.RLIMIT_NOFILE, nil, &l); err != nil {
		return fmt.Errorf("prlimit %d: %w", pid, err)
	}
	l.Cur = l.Max
	if err := unix.Prlimit(int(pid), unix.RLIMIT_NOFILE, &l, nil); err != nil {
		return fmt.Errorf("prlimit %d: %w", pid, err)
	}
	return nil
}

func (r *restart) moveStatus() error {
	r.ids.status = r.files.Reserve()
	var b task.Batch
	b.Add(unix.SYS_DUP3, statusFD, r.ids.status, unix.O_CLOEXEC)
	b.Add(unix.SYS_CLOSE, statusFD)
	return r.builder.Run(&b)
}

func (r *restart) progress() func(int64) {
	if r.opts.Progress == nil {
		return nil
	}
	total := r.im.Manifest().Summary.PageBytes
	return func(done int64) { r.opts.Progress(done, total) }
}
