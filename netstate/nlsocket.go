package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// Netlink is the image record of a netlink socket.
type Netlink struct {
	Type     int      `cbor:"1,keyasint" json:"type"`
	Protocol int      `cbor:"2,keyasint" json:"protocol"`
	Port     uint32   `cbor:"3,keyasint,omitempty" json:"port,omitempty"` // its address, 0 if it has none
	Groups   []uint32 `cbor:"4,keyasint,omitempty" json:"groups,omitempty"`
	Peer     Addr     `cbor:"5,keyasint,omitempty" json:"peer,omitempty"` // if it is connected
	Settings Settings `cbor:"6,keyasint" json:"settings"`
}

// netlinkKept are the protocols whose sockets are nothing but what this record
// has. Others keep things for a socket that nobody can read back.
var netlinkKept = map[int]string{
	unix.NETLINK_ROUTE: "route", unix.NETLINK_USERSOCK: "usersock", unix.NETLINK_SOCK_DIAG: "sock_diag", unix.NETLINK_SELINUX: "selinux",
	unix.NETLINK_FIB_LOOKUP: "fib_lookup", unix.NETLINK_NETFILTER: "netfilter", unix.NETLINK_KOBJECT_UEVENT: "uevent",
	unix.NETLINK_GENERIC: "generic", unix.NETLINK_XFRM: "xfrm", unix.NETLINK_CRYPTO: "crypto",
	unix.NETLINK_AUDIT: "audit",
}

// netlinkOptions are those of SOL_NETLINK.
var netlinkOptions = []optionRow{
	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_BROADCAST_ERROR, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 4, atFirst},
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 4, atFirst},
}

// captureNetlink makes the record.
func (u usuals) captureNetlink(d *fdstate.Desc, all *fdstate.Survey) (fdstate.Record, error) {
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	rec := &Netlink{Type: d.Socket.Type, Protocol: d.Socket.Protocol}
	if netlinkKept[rec.Protocol] == "" {
		return nil, fdstate.Refuse(fmt.Sprintf("what a netlink socket of protocol %d has in the kernel cannot be read back", rec.Protocol), "")
	}
	local, err := addrOf(unix.SYS_GETSOCKNAME, fd)
	if err != nil || len(local) < unix.SizeofSockaddrNetlink {
		return nil, fmt.Errorf("getsockname: %s: %w", local, err)
	}
	rec.Port = binary.LittleEndian.Uint32(local[4:])
	peer, err := addrOf(unix.SYS_GETPEERNAME, fd)
	if err != nil || len(peer) < unix.SizeofSockaddrNetlink {
		return nil, fmt.Errorf("getpeername: %s: %w", peer, err)
	}
	if binary.LittleEndian.Uint64(peer[4:]) != 0 {
		rec.Peer = peer
	}
	if rec.Groups, err = readNetlinkGroups(fd); err != nil {
		return nil, err
	}
	rec.Settings, err = readSettings(fd, u.of(all, unix.AF_NETLINK, rec.Type, rec.Protocol), socketOptions, netlinkOptions)
	if err != nil {
		return nil, err
	}
	if rec.Protocol == unix.NETLINK_AUDIT {
		if err := refuseAuditor(all); err != nil {
			return nil, err
		}
	}
	return rec, rec.refuse(d, fd)
}

// refuseAuditor refuses the socket of the process that the kernel hands audit
// records to. Others only send, or listen. Who may not ask is not that process.
func refuseAuditor(all *fdstate.Survey) error {
	fd, err := openNetlink(all, unix.NETLINK_AUDIT)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const wait = 1 // seconds: a thread of the kernel answers (Linux kernel/audit.c:audit_send_reply, v6.12)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: wait}); err != nil {
		return err
	}
	get := newRequest(unix.AUDIT_GET, 0, nil)
	binary.LittleEndian.PutUint32(get, uint32(len(get)))
	if err := unix.Sendto(fd, get, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPERM) {
		return nil // it has no users in namespaces
	} else if err != nil {
		return fmt.Errorf("ask for the audit daemon: %w", err)
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return fmt.Errorf("ask for the audit daemon: %w", err)
	}
	const pidAt = unix.SizeofNlMsghdr + 12 // in struct audit_status
	if n < pidAt+4 || binary.LittleEndian.Uint16(b[4:]) != unix.AUDIT_GET {
		return nil
	}
	pid := task.PID(binary.LittleEndian.Uint32(b[pidAt:]))
	for _, p := range all.Procs {
		if pid != 0 && p.Held.PID == pid {
			return fdstate.Refuse("the kernel hands audit records to it, which cannot be set up again from outside", "")
		}
	}
	return nil
}

// readNetlinkGroups reads the bitmap of groups.
func readNetlinkGroups(fd int) ([]uint32, error) {
	n, err := getsockopt(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS, nil)
	if err != nil {
		return nil, fmt.Errorf("getsockopt NETLINK_LIST_MEMBERSHIPS: %w", err)
	}
	b := make([]byte, n)
	if _, err := getsockopt(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS, b); err != nil {
		return nil, fmt.Errorf("getsockopt NETLINK_LIST_MEMBERSHIPS: %w", err)
	}
	return netlinkGroups(b), nil
}

// netlinkGroups are the numbers of the bits that are set; group 1 is the first.
func netlinkGroups(b []byte) []uint32 {
	var groups []uint32
	for word := 0; word+4 <= len(b); word += 4 {
		for set := binary.LittleEndian.Uint32(b[word:]); set != 0; set &= set - 1 {
			groups = append(groups, uint32(word*8+bits.TrailingZeros32(set)+1))
		}
	}
	return groups
}

// refuse refuses what waits: only the kernel can send what the kernel has
// sent. A dump goes on as long as the program reads.
func (rec *Netlink) refuse(d *fdstate.Desc, fd int) error {
	ready, err := fdstate.Poll(fd, unix.POLLIN)
	if err != nil {
		return err
	}
	dump, err := netlinkDump(d)
	switch {
	case err != nil:
		return err
	case ready&unix.POLLERR != 0:
		return fdstate.RefuseNow("an error waits to be read from it (ENOBUFS: it has missed messages)")
	case ready&unix.POLLIN != 0 || dump:
		return fdstate.RefuseNow("messages of the kernel wait to be read from it")
	case rec.Protocol != unix.NETLINK_NETFILTER || rec.Port == 0:
		return nil
	}
	for _, list := range []string{"nfnetlink_queue", "nfnetlink_log"} {
		used, err := hasNetfilter(fmt.Sprintf("/proc/%d/net/netfilter/%s", d.PID, list), rec.Port)
		if err != nil {
			return err
		}
		if used {
			return fdstate.Refuse("packets are handed to it ("+list+"), which cannot be set up again from outside", "")
		}
	}
	return nil
}

// netlinkDump tells whether the kernel is in the middle of an answer. The list
// has "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode" (Linux
// net/netlink/af_netlink.c:netlink_native_seq_show, v6.12).
func netlinkDump(d *fdstate.Desc) (bool, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", d.PID))
	if err != nil {
		return false, err
	}
	ino := strconv.FormatUint(d.Stat.Ino, 10)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 10 && f[9] == ino {
			return f[6] != "0", nil
		}
	}
	return false, nil
}

// hasNetfilter looks for a port in a list of queues or logs, where it is in
// the second column (Linux net/netfilter/nfnetlink_queue.c:seq_show, v6.12).
func hasNetfilter(path string, port uint32) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return false, nil // nobody has any, or only root may have
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == strconv.FormatUint(uint64(port), 10) {
			return true, nil
		}
	}
	return false, err
}

// Check is for records out of an image.
func (rec *Netlink) Check(*fdstate.State) error {
	if rec.Type != unix.SOCK_RAW && rec.Type != unix.SOCK_DGRAM || len(rec.Peer) > 0 && rec.Peer.family() != unix.AF_NETLINK {
		return errors.New("not a netlink socket")
	}
	return rec.Settings.check()
}

// Restore makes the socket, with the address that it had.
func (rec *Netlink) Restore(o *fdstate.Opener, _ *fdstate.File, at fdstate.Slot) error {
	o.Open(at, "socket", unix.SYS_SOCKET, unix.AF_NETLINK, rec.Type|unix.SOCK_CLOEXEC, rec.Protocol)
	o.Then(func() error { return onCopy(o, at.Num, rec.complete) })
	return nil
}

// onCopy runs fn on our own descriptor of one of a process's.
func onCopy(o *fdstate.Opener, num int, fn func(fd int) error) error {
	fd, err := o.Copy(num)
	if err != nil {
		return err
	}
	return errors.Join(fn(fd), unix.Close(fd))
}

func (rec *Netlink) complete(fd int) error {
	if err := setOptions(fd, rec.Settings.Options, atFirst); err != nil {
		return err
	}
	if rec.Port != 0 {
		err := useAddr(unix.SYS_BIND, fd, netlinkAddr(rec.Port))
		if errors.Is(err, unix.EADDRINUSE) {
			return &HostError{Why: fmt.Sprintf("another program uses the netlink port %d", rec.Port), Hint: "end it first", Err: err}
		}
		if err != nil {
			return fmt.Errorf("bind to netlink port %d: %w", rec.Port, err)
		}
	}
	for _, group := range rec.Groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group)); err != nil {
			return &HostError{Why: fmt.Sprintf("cannot join netlink group %d of protocol %d", group, rec.Protocol), Hint: "restart it as root", Err: err}
		}
	}
	if len(rec.Peer) > 0 {
		if err := useAddr(unix.SYS_CONNECT, fd, rec.Peer); err != nil {
			return &HostError{Why: "cannot connect a netlink socket to " + rec.Peer.String(), Hint: "restart it as root", Err: err}
		}
	}
	return rec.Settings.complete(fd)
}

// netlinkAddr is a struct sockaddr_nl.
func netlinkAddr(port uint32) Addr {
	b := binary.LittleEndian.AppendUint16(nil, unix.AF_NETLINK)
	b = append(b, 0, 0)
	return append(binary.LittleEndian.AppendUint32(b, port), 0, 0, 0, 0)
}
