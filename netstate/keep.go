package netstate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
)

// A connection out of the tree is kept over the end of the tree and a restart
// in these steps. Its packets are held back from the first to the last, so that
// it stands still, and the other end sees nothing but a slow network.
//
//  1. A hold is put on it, and it is read in repair mode, by a helper, so that it
//     leaves that mode though we die.
//  2. The tree ends. The sockets do not: we have descriptors of them.
//  3. They are closed in repair mode, of which the other end hears nothing
//     (Linux net/ipv4/tcp.c:__tcp_close, v6.12).
//  4. A holder, a small process, keeps the hold for a minute, since a packet that
//     came in now would be answered by RST.
//  5. The restart makes the socket anew, under a hold of its own, and ends the holder.
//     What the other end has sent last, its end, is sent once more, by us (tcpfin.go).

// RepairHelperName and HolderName are names under which this program is the
// helper and the holder. Its main function must call [RepairHelper] or [Holder] then.
const (
	RepairHelperName = "supervise-tcp"
	HolderName       = "supervise-hold"
)

// holdFor is how long a holder lives.
const holdFor = time.Minute

// kept are connections that a snapshot keeps for a restart.
type kept struct {
	hold *hold
	fds  []int
}

// repairAnswer is what the helper has read.
type repairAnswer struct {
	Repair *TCPRepair `cbor:"1,keyasint,omitempty"`
	State  TCPState   `cbor:"2,keyasint,omitempty"`
	Error  string     `cbor:"3,keyasint,omitempty"`
}

// RepairHelper reads a connection in repair mode, and gives its exit code.
func RepairHelper() int {
	var a repairAnswer
	fd := fdstate.FirstHelperFD
	err := repaired(fd, func() error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		a.State = TCPState(info.State)
		a.Repair, err = captureRepair(fd, a.State)
		return err
	})
	if err != nil {
		a.Error = err.Error()
	}
	return fdstate.AnswerAsHelper(a)
}

// keep records what a connection needs to be kept.
func (k *kept) keep(rec *TCP, fd int) error {
	if k.hold == nil {
		h, err := newHold()
		if err != nil {
			return fdstate.Refuse("its packets cannot be held back, so that it cannot be kept: "+err.Error(), "keep connections as root, or use --tcp=reset")
		}
		k.hold = h
	}
	if err := k.hold.add(rec.Local, rec.Peer); err != nil {
		return err
	}
	var a repairAnswer
	if err := fdstate.RunHelper(RepairHelperName, []int{fd}, &a); err != nil {
		return err
	}
	switch {
	case a.Error != "":
		return fdstate.Refuse("it cannot be kept: "+a.Error, "keep connections as root, or use --tcp=reset")
	case !a.State.in(tcpEstablished, tcpFinWait1, tcpFinWait2, tcpCloseWait, tcpClosing, tcpLastAck):
		return fdstate.RefuseNow(fmt.Sprintf("it is in state %v, and cannot be kept", a.State))
	}
	rec.Repair, rec.State = a.Repair, outsideState(a.State)
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	k.fds = append(k.fds, own)
	return nil
}

// Release gives up what was kept, for a tree that runs on.
func (s *Sockets) Release() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, fd := range s.kept.fds {
		errs = append(errs, unix.Close(fd))
	}
	if s.kept.hold != nil {
		errs = append(errs, s.kept.hold.close())
	}
	s.kept = kept{}
	return errors.Join(errs...)
}

// Leave closes what was kept so that the other ends hear nothing of it. The
// tree is dead. image names the snapshot to the restart.
func (s *Sockets) Leave(image string) error {
	if s.kept.hold == nil {
		return nil
	}
	var errs []error
	for _, fd := range s.kept.fds {
		errs = append(errs, setTCP(fd, unix.TCP_REPAIR, repairOn))
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: "/", Env: []string{}, Sys: &syscall.SysProcAttr{Setsid: true},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(s.kept.hold.fd)}}
	_, err = syscall.ForkExec("/proc/self/exe", []string{HolderName, image}, attr)
	return errors.Join(append(errs, err, s.Release())...)
}

// Holder keeps its descriptors open for a while, and gives its exit code.
func Holder() int {
	time.Sleep(holdFor)
	return 0
}

// endHolders ends the holders of a snapshot's connections.
func endHolders(image string) error {
	pids, err := procfs.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		args, err := procfs.Cmdline(pid)
		if err != nil || !slices.Equal(args, []string{HolderName, image}) {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the holder of the connections: %w", err)
		}
	}
	return nil
}

// keeping is what a restart needs to keep connections.
type keeping struct {
	hold    *hold  // nil: none is kept
	image   string // the snapshot's id
	private bool   // the tree gets a network namespace of its own
}

// revive makes a connection that was kept. It stays in repair mode until the
// tree is complete: should the restart fail, the other end hears nothing.
func (n *tcpNet) revive(s *tcpSock, fd int) error {
	if n.hold == nil {
		h, err := newHold()
		if err != nil {
			return &HostError{Why: "the packets of connections cannot be held back, so that none can be kept", Err: err, Hint: "restart it as root, or with --tcp=reset"}
		}
		n.hold = h
		n.o.AtRelease(n.goOn)
	}
	rec := s.rec
	if err := n.hold.add(rec.Local, rec.Peer); err != nil {
		return err
	}
	if err := setOptions(fd, rec.Options, atFirst); err != nil {
		return err
	}
	err := rec.Repair.restore(fd, sockaddrOf(rec.Domain, rec.Local), sockaddrOf(rec.Domain, rec.Peer), rec.Queue, rec.repairState())
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &HostError{Why: fmt.Sprintf("the connection between %s and %s cannot be kept", rec.Local, rec.Peer), Err: err,
			Hint: "the address must be one of this host, and no other copy have the connection"}
	case errors.Is(err, unix.EPERM):
		return &HostError{Why: "this user may keep no connections", Err: err, Hint: "restart it as root, or with --tcp=reset"}
	case err != nil:
		return fmt.Errorf("keep the connection between %s and %s: %w", rec.Local, rec.Peer, err)
	}
	if s.own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	return nil
}

// goOn lets the connections that were kept go on.
func (n *tcpNet) goOn() error {
	errs := []error{endHolders(n.image), n.hold.close()}
	for _, s := range n.socks {
		if !s.kept {
			continue
		}
		reuse := 0
		if s.rec.has(unix.SOL_SOCKET, unix.SO_REUSEADDR) {
			reuse = 1
		}
		err := s.rec.Repair.goOn(s.own, reuse)
		if err == nil {
			err = s.rec.Repair.finish(s.own, s.rec.Local, s.rec.Peer, s.rec.repairState())
		}
		errs = append(errs, err, unix.Close(s.own))
	}
	return errors.Join(errs...)
}
