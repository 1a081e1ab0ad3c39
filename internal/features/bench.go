package features

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// bench is what probes try things on. What it needs is made on first use.
type bench struct {
	dir     string    // where images are to be
	sleeper *exec.Cmd // a child to look into; started on first use
	err     error     // why there is none

	spaces    *spacesResult
	spacesErr error
}

func newBench(dir string) *bench { return &bench{dir: dir} }

// close ends what was started.
func (b *bench) close() {
	if b.sleeper != nil {
		_ = b.sleeper.Process.Kill()
		_ = b.sleeper.Wait()
	}
}

// child gives the pid of a child that does nothing.
func (b *bench) child() (int, error) {
	if b.sleeper == nil && b.err == nil {
		cmd := exec.Command("sleep", "60")
		cmd.Dir = "/"

		if b.err = cmd.Start(); b.err == nil {
			b.sleeper = cmd
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.sleeper.Process.Pid, nil
}

// freeze stops a process as a snapshot does, and lets it go on.
func freeze(pid int) error {
	const patience = 200 * time.Millisecond
	return task.OnThread(func() error {
		tree, err := task.Freeze([]task.PID{task.PID(pid)}, patience)
		if err != nil {
			return err
		}
		return tree.Thaw()
	})
}

// build starts a bare process, as a restart does, and calls fn with it. user
// says that it is to be in a user namespace of its own, spaces that it is the
// init of namespaces. The process never runs and is gone afterwards.
func build(user, spaces bool, fn func(*task.Process) error) error {
	return task.OnThread(func() error {
		attr := &syscall.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{}}
		if user {
			attr.Sys.Cloneflags = unix.CLONE_NEWUSER
			attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
			attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
			// Without these an exec as anybody but root ends with no capabilities.
			attr.Sys.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_TIME, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_NET_ADMIN}
		}
		p, err := task.Start("/proc/self/exe", []string{task.InitName}, attr)
		if err != nil {
			return err
		}
		defer func() { _ = (&task.Tree{Procs: []*task.Process{p}}).Kill() }()
		p.Identify(task.ID(p.PID))
		vmas, err := procfs.ReadMaps(int(p.PID))
		if err != nil {
			return err
		}
		if err := p.Infect(vmas); err != nil {
			return err
		}
		if spaces {
			init, err := p.EnterNamespaces()
			if err != nil {
				return err
			}
			p = init
		}
		return fn(p)
	})
}

// mountError is a /proc that could not be mounted.
type mountError struct{ err error }

func (e *mountError) Error() string { return "mount /proc: " + e.err.Error() }
func (e *mountError) Unwrap() error { return e.err }

// spacesResult is what works in new namespaces.
type spacesResult struct {
	mount, setTID, time, exe, ipc, net error
}

// inSpaces tries everything that is to be tried in new namespaces, with a user
// namespace if it does not go without.
func (b *bench) inSpaces() (*spacesResult, error) {
	if b.spaces != nil || b.spacesErr != nil {
		return b.spaces, b.spacesErr
	}
	r := new(spacesResult)
	err := build(false, true, r.try)
	if errors.Is(err, unix.EPERM) {
		err = build(true, true, r.try)
	}
	if err != nil {
		b.spacesErr = err
		return nil, err
	}
	b.spaces = r
	return r, nil
}

// try runs the probes in p.
func (r *spacesResult) try(p *task.Process) error {
	if _, err := p.Call(unix.SYS_MOUNT, "none", "/", "", unix.MS_REC|unix.MS_PRIVATE, 0); err != nil {
		r.mount = &mountError{err}
	} else if _, err := p.Call(unix.SYS_MOUNT, "proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0); err != nil {
		r.mount = &mountError{err}
	}
	r.setTID = trySetTIDIn(p)
	r.exe = tryExeLink(p)
	r.time = tryTime(p)
	r.ipc = tryIPC(p)
	r.net = tryNet(p)
	return nil
}

// tryTime makes a time namespace for p's children and moves its clock.
func tryTime(p *task.Process) error {
	if _, err := p.Call(unix.SYS_UNSHARE, unix.CLONE_NEWTIME); err != nil {
		return err
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/timens_offsets", p.PID), []byte("monotonic 1 0\n"), 0)
}

// tryIPC makes an ipc namespace for p, and asks for the right to choose ids there.
func tryIPC(p *task.Process) error {
	if _, err := p.Call(unix.SYS_UNSHARE, unix.CLONE_NEWIPC); err != nil {
		return err
	}
	const path = "/proc/sys/kernel/sem_next_id"
	if _, err := p.Call(unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return nil
}

// ifreqSize is the size of struct ifreq (man 7 netdevice).
const ifreqSize = 40

// tryNet makes a network namespace for p, and brings up its loopback.
func tryNet(p *task.Process) error {
	if _, err := p.Call(unix.SYS_UNSHARE, unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := p.Call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo := make([]byte, ifreqSize)
	copy(lo, "lo")
	binary.LittleEndian.PutUint16(lo[unix.IFNAMSIZ:], unix.IFF_UP)
	if _, err := p.Call(unix.SYS_IOCTL, fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up the loopback: %w", err)
	}
	return nil
}
