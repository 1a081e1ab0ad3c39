package fdstate

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/policy"
)

// Desc is an open file description of the tree, looked at through one of its
// descriptors.
type Desc struct {
	PID  task.PID // a process that has it
	Comm string   // of that process
	FD   int      // its number there
	Proc int      // that process's index

	Users []User // every descriptor that refers to it, in order; Users[0] is the above

	Stat unix.Stat_t
	Link string
	Info procfs.FDInfo

	// Socket is what a socket was made as, by socket(2).
	Socket struct{ Domain, Type, Protocol int }

	survey  *Survey
	carrier *Desc     // of a description that is only in flight: what has the message
	flies   bool      // a message has it, be it alone or not
	index   int       // in Survey.Descs, and so in State.Files
	pipe    *pipe     // of a pipe or fifo
	tty     *terminal // of a terminal
	locks   []Lock
	fileKey fileKey // of a file whose name is gone

	breaking bool // its lease is to be given up
	rule     *policy.Rule
	outside  *Outside // not nil: it leads out of the tree and can be reconnected
}

// User is one descriptor of one process.
type User struct {
	Proc int
	Num  int
}

// Rule is the rule for the checkpoint, or nil.
func (d *Desc) Rule() *policy.Rule { return d.rule }

// Flags are the access mode and status flags.
func (d *Desc) Flags() int { return d.Info.Flags &^ unix.O_CLOEXEC }

// Access is the access mode: O_RDONLY, O_WRONLY or O_RDWR.
func (d *Desc) Access() int { return d.Info.Flags & unix.O_ACCMODE }

// What names the description in messages.
func (d *Desc) What() string {
	if d.carrier != nil {
		return fmt.Sprintf("%s, in flight over %s", d.Link, d.carrier.What())
	}
	return fmt.Sprintf("fd %d (%s)", d.FD, d.Link)
}

// Copy gives our own descriptor of the description, to be closed by the
// caller. It shares position and flags with the tree's: look, do not touch.
func (d *Desc) Copy() (int, error) {
	fd, err := d.survey.copyFD(d.Proc, d.FD)
	if err != nil {
		return -1, fmt.Errorf("copy %s: %w", d.What(), err)
	}
	return fd, nil
}

// look runs fn on a copy.
func (d *Desc) look(fn func(fd int) error) error {
	fd, err := d.Copy()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

// leadsOutside is the Match of Outside.
func (d *Desc) leadsOutside() bool { return d.outside != nil }

// mode is the file type.
func (d *Desc) mode() uint32 { return d.Stat.Mode & unix.S_IFMT }

// anonName is what follows "anon_inode:", or "".
func (d *Desc) anonName() string {
	name, ok := strings.CutPrefix(d.Link, "anon_inode:")
	if !ok {
		return ""
	}
	return name
}

// anon matches anonymous inodes by name.
func anon(name string) func(*Desc) bool {
	return func(d *Desc) bool { return d.anonName() == name }
}

// inTree gives the path under which we find what the process calls name.
func (d *Desc) inTree(name string) string {
	return procfs.Reach(int(d.PID), name)
}

// checkPath makes sure that the description's name still leads to it, so that
// opening the name again gives the same file.
func (d *Desc) checkPath() error {
	var now unix.Stat_t
	const followNot = unix.AT_SYMLINK_NOFOLLOW
	err := unix.Fstatat(unix.AT_FDCWD, d.inTree(d.Link), &now, followNot)
	switch {
	case err == nil && now.Dev == d.Stat.Dev && (now.Ino == d.Stat.Ino || strings.HasPrefix(d.Link, "/proc/")):
		return nil // /proc shows some files according to who asks
	case d.Stat.Nlink == 0 || err != nil && strings.HasSuffix(d.Link, " (deleted)"):
		return Refuse("its name was removed", "")
	case err != nil:
		return Refuse(fmt.Sprintf("its name does not lead to it: %v", err), "")
	}
	return Refuse("its name leads to another file now", "")
}
