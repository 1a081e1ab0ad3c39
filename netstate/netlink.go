package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/task"
)

// openNetlink opens a netlink socket in the network namespace of the tree.
func openNetlink(all *fdstate.Survey, protocol int) (int, error) {
	return netlinkOf(all.Procs[0].Held.PID, protocol, func() (*task.Process, error) { return all.Inside(0) })
}

// netlinkOf opens a netlink socket in the network namespace of a process. Where
// that is not ours, it is made inside.
func netlinkOf(pid task.PID, protocol int, inside func() (*task.Process, error)) (int, error) {
	ours, err := InOurs(pid)
	if err != nil {
		return -1, err
	}
	if ours {
		return ownNetlink(protocol)
	}
	p, err := inside()
	if err != nil {
		return -1, err
	}
	return borrowNetlink(p, protocol)
}

// held is for a process that calls can be made in already.
func held(p *task.Process) func() (*task.Process, error) {
	return func() (*task.Process, error) { return p, nil }
}

// InOurs tells whether a process is in our network namespace.
func InOurs(pid task.PID) (bool, error) {
	theirs, err := procfs.Namespace(int(pid), "net")
	if err != nil {
		return false, err
	}
	ours, err := procfs.OwnNamespace("net")
	return theirs == ours, err
}

func ownNetlink(protocol int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	return fd, nil
}

// borrowNetlink has a process make a netlink socket in its namespace for us: we
// cannot enter it without privilege, but use what is open there. The process
// keeps nothing, though we die: its number is the lowest that is free (man 2
// open), so that the close can follow in the same run.
func borrowNetlink(p *task.Process, protocol int) (int, error) {
	return borrowSocket(p, unix.AF_NETLINK, unix.SOCK_RAW, protocol)
}

// borrowSocket does so with a socket of any family.
func borrowSocket(p *task.Process, domain, typ, protocol int) (int, error) {
	num, err := lowestFree(p.PID)
	if err != nil {
		return -1, err
	}
	fd := -1
	var b task.Batch
	made := b.Add(unix.SYS_SOCKET, domain, typ|unix.SOCK_CLOEXEC, protocol).Optional()
	b.Pause(func() error {
		pidfd, err := p.Pidfd()
		if err != nil {
			return err
		}
		defer unix.Close(pidfd)
		fd, _ = unix.PidfdGetfd(pidfd, num, 0) // made tells why there is none
		return nil
	})
	b.Add(unix.SYS_CLOSE, num).Optional()
	if err := p.Run(&b); err != nil {
		return -1, errors.Join(err, closeSome(fd))
	}
	if made.Err() != nil || made.Ret != int64(num) || fd < 0 {
		return -1, errors.Join(fmt.Errorf("new socket in process %d: descriptor %d, not %d: %w", p.PID, made.Ret, num, made.Err()), closeSome(fd))
	}
	return fd, nil
}

// closeSome closes what may not be there.
func closeSome(fd int) error {
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// lowestFree is the number that a process's next descriptor gets.
func lowestFree(pid task.PID) (int, error) {
	nums, err := procfs.FDs(int(pid))
	if err != nil {
		return -1, err
	}
	slices.Sort(nums)
	for i, num := range nums {
		if i != num {
			return i, nil
		}
	}
	return len(nums), nil
}

// nlRequest is a netlink message in the making.
type nlRequest []byte

// newRequest begins a message with the header of its protocol.
func newRequest(kind, flags uint16, header []byte) nlRequest {
	m := binary.LittleEndian.AppendUint32(nil, 0) // its length, see ask
	m = binary.LittleEndian.AppendUint16(m, kind)
	m = binary.LittleEndian.AppendUint16(m, unix.NLM_F_REQUEST|flags)
	m = append(m, 0, 0, 0, 0, 0, 0, 0, 0) // sequence, port
	return append(m, header...)
}

// attribute appends an attribute, and what fills it.
func (m *nlRequest) attribute(kind uint16, value []byte) {
	*m = binary.LittleEndian.AppendUint16(*m, uint16(unix.SizeofRtAttr+len(value)))
	*m = binary.LittleEndian.AppendUint16(*m, kind)
	*m = append(*m, value...)
	for len(*m)%unix.NLMSG_ALIGNTO != 0 {
		*m = append(*m, 0)
	}
}

// ask sends a message, and calls each for every one in the answer up to its end.
func (m nlRequest) ask(fd int, each func(data []byte) error) error {
	binary.LittleEndian.PutUint32(m, uint32(len(m)))
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel by netlink: %w", err)
	}
	for buf := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read from netlink: %w", err)
		}
		if done, err := readAnswer(buf[:n], each); done || err != nil {
			return err
		}
	}
}

// readAnswer reads one datagram of an answer. An answer that is not in several
// parts ends with an acknowledgement.
func readAnswer(b []byte, each func(data []byte) error) (done bool, err error) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return false, fmt.Errorf("answer by netlink: %w", err)
	}
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(m.Data) < 4 {
				return false, errNetlink
			}
			if errno := -int32(binary.LittleEndian.Uint32(m.Data)); errno != 0 {
				return false, syscall.Errno(errno)
			}
			return true, nil
		default:
			if err := each(m.Data); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

var errNetlink = errors.New("answer by netlink is not as expected")

// eachAttribute takes attributes apart.
func eachAttribute(b []byte, take func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.LittleEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errNetlink
		}
		if err := take(binary.LittleEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:size]); err != nil {
			return err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}
