package features

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// probePIDNamespace makes a pid namespace with a /proc of its own and chooses
// a pid in it.
func probePIDNamespace(b *bench) error {
	r, err := b.inSpaces()
	if err != nil {
		return err
	}
	if r.mount != nil {
		return r.mount
	}
	return r.setTID
}

// probeTimeNamespace moves the monotonic clock of a new time namespace.
func probeTimeNamespace(b *bench) error {
	r, err := b.inSpaces()
	if err != nil {
		return err
	}
	return r.time
}

// probeIPCNamespace chooses ids in an ipc namespace.
func probeIPCNamespace(b *bench) error {
	r, err := b.inSpaces()
	if err != nil {
		return err
	}
	return r.ipc
}

// probeNetNamespace brings up the loopback of a network namespace.
func probeNetNamespace(b *bench) error {
	r, err := b.inSpaces()
	if err != nil {
		return err
	}
	return r.net
}

// probeTCPRepair puts a new socket into repair mode.
func probeTCPRepair(*bench) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return fmt.Errorf("setsockopt TCP_REPAIR: %w", err)
	}
	return nil
}

// probeExeLink sets the exe link of a process where restarts would do it.
func probeExeLink(b *bench) error {
	if b.spaces == nil && probeSetTID(b) == nil {
		return build(false, false, tryExeLink)
	}
	r, err := b.inSpaces()
	if err != nil {
		return err
	}
	return r.exe
}

// inUse turns the error that is expected into none.
func inUse(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err == nil {
		return errors.New("clone3 with set_tid: a pid in use was given out")
	}
	return fmt.Errorf("clone3 with set_tid: %w", err)
}

// trySetTIDIn asks for pid 1, which p is itself. The kernel looks at the right to
// ask first, so no process ever comes of it (Linux kernel/pid.c:alloc_pid, v6.12).
func trySetTIDIn(p *task.Process) error {
	_, err := p.Clone(0, int(unix.SIGCHLD), 1)
	return inUse(err)
}

// probeSetTID asks for a pid that is in use in this pid namespace.
func probeSetTID(*bench) error { return inUse(cloneSetTID(os.Getpid())) }

// tryExeLink changes the exe link of p to what it is. The kernel checks the
// right to do so, and then finds that the old one is still mapped (Linux
// kernel/fork.c:replace_mm_exe_file, v6.12).
func tryExeLink(p *task.Process) error {
	fd, err := p.Call(unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	st, err := procfs.ReadStat(int(p.PID))
	if err != nil {
		return err
	}
	_, err = p.Call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, mmMap(&st, uint32(fd)), mmMapSize, 0)
	if err == nil || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return fmt.Errorf("prctl PR_SET_MM_MAP with exe_fd: %w", err)
}

// mmMapSize is the size of struct prctl_mm_map (Linux
// include/uapi/linux/prctl.h, v6.12).
const mmMapSize = 104

// mmMap is a struct prctl_mm_map that changes nothing but the exe link.
func mmMap(st *procfs.Stat, exeFD uint32) []byte {
	var b []byte
	brk := st.StartBrk
	for _, v := range []uint64{st.StartCode, st.EndCode, st.StartData, st.EndData, brk, brk, st.StartStack,
		st.ArgStart, st.ArgEnd, st.EnvStart, st.EnvEnd, 0} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, exeFD)
}

// probeMapVDSO asks for a second vDSO, which nobody may have (Linux
// arch/x86/entry/vdso/vma.c:map_vdso_once, v6.12).
func probeMapVDSO(*bench) error {
	const archMapVDSO64 = 0x2003 // ARCH_MAP_VDSO_64
	_, _, errno := unix.Syscall(unix.SYS_ARCH_PRCTL, archMapVDSO64, 0, 0)
	if errno == unix.EEXIST {
		return nil
	}
	return callError("arch_prctl ARCH_MAP_VDSO_64", errno)
}

// probeTimerIDs asks whether ids of timers are being restored now.
func probeTimerIDs(*bench) error {
	const restoreIDs, get = 77, 2 // PR_TIMER_CREATE_RESTORE_IDS, .._GET
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, restoreIDs, get, 0, 0, 0, 0)
	return callError("prctl PR_TIMER_CREATE_RESTORE_IDS", errno)
}

// probeUnconfined looks for what a child cannot get rid of.
func probeUnconfined(*bench) error {
	st, err := procfs.ReadStatus(os.Getpid())
	switch {
	case err != nil:
		return err
	case st.Seccomp != 0:
		return errors.New("supervise runs under a system call filter (seccomp)")
	case st.NoNewPrivs != 0:
		return errors.New("supervise runs with no_new_privs")
	}
	return nil
}
