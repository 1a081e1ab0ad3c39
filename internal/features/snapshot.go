package features

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// probePtrace stops a child.
func probePtrace(b *bench) error {
	pid, err := b.child()
	if err != nil {
		return err
	}
	return freeze(pid)
}

// probeAttach looks whether Yama keeps this user from processes that are no
// descendants. To try it on one would leave a zombie under an init that does
// not reap.
func probeAttach(*bench) error {
	scope := sysctl("kernel/yama/ptrace_scope")
	if scope == "" || scope == "0" {
		return nil
	}
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return err
	}
	if scope != "3" && st.CapEff&(1<<unix.CAP_SYS_PTRACE) != 0 {
		return nil
	}
	return fmt.Errorf("kernel.yama.ptrace_scope is %s", scope)
}

// probeProcessVM reads a child's memory and writes it back.
func probeProcessVM(b *bench) error {
	pid, err := b.child()
	if err != nil {
		return err
	}
	vmas, err := procfs.ReadMaps(pid)
	if err != nil {
		return err
	}
	for i := range vmas {
		if vmas[i].Path == "[stack]" {
			at, word := task.Addr(vmas[i].End-8), make([]byte, 8)
			return errors.Join(task.Read(task.PID(pid), word, at), task.Write(task.PID(pid), at, word))
		}
	}
	return errors.New("a process without a stack")
}

// probePagemapScan scans a child's pages.
func probePagemapScan(b *bench) error {
	pid, err := b.child()
	if err != nil {
		return err
	}
	pages, err := procfs.OpenPagemap(pid)
	if err != nil {
		return err
	}
	defer pages.Close()
	vmas, err := procfs.ReadMaps(pid)
	if err != nil || len(vmas) == 0 {
		return errors.Join(err, errors.New("a process without memory"))
	}
	return pages.Scan(vmas[0].Start, vmas[0].End, procfs.ScanQuery{Return: procfs.PageIsPresent},
		func(_, _, _ uint64) error { return nil })
}

// probeKcmp compares descriptors of this process and a child.
func probeKcmp(b *bench) error {
	const kcmpFiles = 2 // KCMP_FILES
	pid, err := b.child()
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), kcmpFiles, 0, 0, 0)
	return callError("kcmp", errno)
}

// probeDiag asks sock_diag for the sockets of a family.
func probeDiag(family, protocol byte) func(*bench) error {
	return func(*bench) error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return fmt.Errorf("netlink socket: %w", err)
		}
		defer unix.Close(fd)
		const sockDiagByFamily, size = 20, unix.SizeofNlMsghdr + 56 // struct inet_diag_req_v2; that of unix sockets is shorter
		m := make([]byte, size)
		le := binary.LittleEndian
		le.PutUint32(m, size)
		le.PutUint16(m[4:], sockDiagByFamily)
		le.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		m[unix.SizeofNlMsghdr], m[unix.SizeofNlMsghdr+1] = family, protocol
		if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("ask sock_diag: %w", err)
		}
		n, _, err := unix.Recvfrom(fd, m, 0)
		if err != nil {
			return fmt.Errorf("read from sock_diag: %w", err)
		}
		if n >= unix.SizeofNlMsghdr+4 && le.Uint16(m[4:]) == unix.NLMSG_ERROR {
			return callError("sock_diag", syscall.Errno(-int32(le.Uint32(m[unix.SizeofNlMsghdr:]))))
		}
		return nil
	}
}

// probePidfdGetfd takes a descriptor of a child.
func probePidfdGetfd(b *bench) error {
	pid, err := b.child()
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, 0, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	return unix.Close(fd)
}

// probeImageDir makes a file where images are to be.
func probeImageDir(b *bench) error {
	return b.inImageDir(func(string) error { return nil })
}

// probeDirectIO opens a file there past the page cache.
func probeDirectIO(b *bench) error {
	return b.inImageDir(func(dir string) error {
		name := filepath.Join(dir, "direct")
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_DIRECT, 0o600)
		// Some file systems make the file and then refuse (man 2 open, O_DIRECT).
		_ = os.Remove(name)
		if err != nil {
			return &os.PathError{Op: "open with O_DIRECT", Path: dir, Err: err}
		}
		return unix.Close(fd)
	})
}

// inImageDir gives fn a directory on the file system where images are to be.
// What of the path is missing now is not made.
func (b *bench) inImageDir(fn func(dir string) error) error {
	parent := b.dir
	for {
		_, err := os.Stat(parent)
		if err == nil || parent == filepath.Dir(parent) {
			break
		}
		parent = filepath.Dir(parent)
	}
	dir, err := os.MkdirTemp(parent, ".supervise-check-")
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), os.Remove(dir))
}

// callError names the call that gave errno, or is nil.
func callError(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
