package netstate

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// occupant names who has an address that the tree is to have: " (NAME, pid N)",
// or its user if that is all that we may see, or nothing. p is the builder, whose
// sockets are the tree's.
func occupant(p *task.Process, protocol uint8, at netip.AddrPort) string {
	if ours, err := InOurs(p.PID); err != nil || !ours {
		return ""
	}
	diag, err := ownNetlink(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return ""
	}
	defer unix.Close(diag)
	at = plain(at)
	holders := map[uint32]string{} // by inode
	for _, domain := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := inetDiagRequest(domain, protocol, 1<<32-1).ask(diag, func(b []byte) error {
			e, err := parseInetDiag(b)
			if err == nil && e.ino != 0 && e.local.Port() == at.Port() &&
				(e.local.Addr() == at.Addr() || e.local.Addr().IsUnspecified() || at.Addr().IsUnspecified()) {
				holders[e.ino] = fmt.Sprintf(" (a process of uid %d)", e.uid)
			}
			return err
		})
		if err != nil {
			return ""
		}
	}
	return nameHolder(holders, p.PID)
}

// nameHolder names one who has a socket of these, by inode and with what is said
// if we may not see who has it.
func nameHolder(holders map[uint32]string, except task.PID) string {
	inside, _ := procfs.FDs(int(except))
	for _, num := range inside {
		delete(holders, socketAt(int(except), num))
	}
	pids, _ := procfs.Processes()
	for _, pid := range pids {
		nums, _ := procfs.FDs(pid) // those of others are not ours to see
		for _, num := range nums {
			if _, ok := holders[socketAt(pid, num)]; !ok {
				continue
			}
			if name, err := procfs.Comm(pid, pid); err == nil {
				return fmt.Sprintf(" (%s, pid %d)", name, pid)
			}
		}
	}
	for _, hidden := range holders {
		return hidden
	}
	return ""
}

// socketAt is the inode of a socket that a process has open; 0 if it is none.
func socketAt(pid, num int) (ino uint32) {
	link, err := procfs.FDLink(pid, num)
	if err == nil {
		fmt.Sscanf(link, "socket:[%d]", &ino)
	}
	return ino
}
