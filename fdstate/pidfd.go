package fdstate

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Pidfd is the image record of a pidfd_open(2) of a process of the tree.
type Pidfd struct {
	ID int `cbor:"1,keyasint" json:"id"` // as the tree's pid namespace shows it
}

func isPidfd(d *Desc) bool { return d.anonName() == "[pidfd]" }

// capturePidfd reads the process's id in each pid namespace from ours down
// (Linux fs/pidfs.c:pidfd_show_fdinfo, v6.12).
func capturePidfd(d *Desc, s *Survey) (Record, error) {
	host, _ := d.Info.Value("Pid")
	nested, _ := d.Info.Value("NSpid")
	pid, err := strconv.Atoi(host)
	ids := strings.Fields(nested)
	switch {
	case err != nil || len(ids) == 0 && pid > 0:
		return nil, Refuse("its process is out of sight", "")
	case pid <= 0:
		return nil, Refuse("its process has ended", "")
	case d.Flags()&unix.O_EXCL != 0:
		return nil, Refuse("it refers to a thread (PIDFD_THREAD)", "")
	case !s.inTree(pid):
		return nil, Refuse("it refers to process "+host+", which is not in the tree", "")
	}
	for _, u := range d.Users {
		if u.Proc != d.Proc {
			return nil, Refuse("it is shared by several processes", "")
		}
	}
	id, err := strconv.Atoi(ids[len(ids)-1])
	return &Pidfd{ID: id}, err
}

// inTree tells whether a process is held, or is the dead child of one that is.
func (s *Survey) inTree(pid int) bool {
	st, err := procfs.ReadStat(pid)
	for _, p := range s.Procs {
		if int(p.Held.TGID) == pid || err == nil && st.State == 'Z' && st.PPID == int(p.Held.TGID) {
			return true
		}
	}
	return false
}

// Restore opens the process, which exists by now.
func (rec *Pidfd) Restore(o *Opener, f *File, at Slot) error {
	o.Open(at, "pidfd_open", unix.SYS_PIDFD_OPEN, rec.ID, f.Flags&unix.O_NONBLOCK)
	return nil
}

// KeepsFlags: O_NONBLOCK is set at once, and there are no others.
func (*Pidfd) KeepsFlags() {}
