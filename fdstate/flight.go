package fdstate

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// noProcess stands for the process of a description that is only in flight: in messages
// over sockets, and in no table.
const noProcess = -1

// Adopt finds the description behind fd, a copy of ours that came out of a
// message in d, among those of the tree. One that no process has is added.
// Either way fd is the survey's from then on.
func (s *Survey) Adopt(fd int, d *Desc) (*Desc, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat a descriptor in flight: %w", err), unix.Close(fd))
	}
	key := inode{st.Dev, st.Ino}
	for _, known := range s.byInode[key] {
		pid, num := s.where(known)
		order, err := kcmpFile(task.PID(os.Getpid()), fd, pid, num)
		if err != nil || order == 0 {
			known.flies = true
			return known, errors.Join(err, unix.Close(fd))
		}
	}
	info, err := procfs.ReadFDInfo(os.Getpid(), fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	added := &Desc{survey: s, index: len(s.Descs), carrier: d, flies: true, Proc: noProcess, FD: fd, Info: info}
	s.Descs = append(s.Descs, added)
	s.byInode[key] = append(s.byInode[key], added)
	return added, nil
}

// where gives a descriptor that refers to a description.
func (s *Survey) where(d *Desc) (task.PID, int) {
	if d.carrier != nil {
		return task.PID(os.Getpid()), d.FD
	}
	return s.pid(d.Users[0].Proc), d.Users[0].Num
}

// InFlight tells whether no process has a descriptor of the description.
func (d *Desc) InFlight() bool { return d.carrier != nil }

// Index is the number of the description's File.
func (d *Desc) Index() int { return d.index }

// reporter is a description that a process has: itself, or what carries it.
func (d *Desc) reporter() *Desc {
	for d.carrier != nil {
		d = d.carrier
	}
	return d
}

// closeFlight closes what Adopt has kept.
func (s *Survey) closeFlight() {
	for _, d := range s.Descs {
		if d.carrier != nil {
			unix.Close(d.FD)
		}
	}
}

// checkFlight refuses what must belong to a process: times, and what names
// descriptors or processes.
func (d *Desc) checkFlight(kind *Kind, rec Record, f *File) error {
	if d.carrier == nil {
		return nil
	}
	_, links := rec.(linker)
	_, timer := rec.(*Timerfd)
	_, pty := rec.(*Pty)
	_, watches := rec.(watcher)
	if links || timer || pty || watches || kind.Late || f.Owner != nil || len(f.Locks) > 0 {
		return RefuseNow(fmt.Sprintf("no process has it (%s) while it is in a message", kind.Name))
	}
	return nil
}

// carrier is a record of what holds descriptors in flight.
type carrier interface {
	// Carries are the files in flight, as indexes into State.Files.
	Carries() []int
}
