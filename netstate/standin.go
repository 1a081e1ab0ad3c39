package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// The kernel notes who made a connection: SO_PEERCRED is whoever called
// connect(2), listen(2) or socketpair(2). So these calls are made by stand-ins:
// processes that have the builder's descriptors, and the id and user that the
// tree has seen. They end before the tree's own processes get these ids.
//
// A name that leads nowhere any more, or to another file, is given in the
// attic: a stand-in whose root is an empty file system of its own. There any
// path can be bound, and nobody else sees it.

// standIns are the processes that make sockets.
type standIns struct {
	builder *task.Process
	known   map[ids]*task.Process
	base    Cred // the builder's user
	attic   *task.Process
	dirs    map[string]*task.Process   // by working directory
	groups  map[*task.Process][]uint32 // that they have
	files   []madeFile
}

func newStandIns(builder *task.Process) (*standIns, error) {
	st, err := procfs.ReadStatus(int(builder.PID))
	if err != nil {
		return nil, err
	}
	base := Cred{UID: uint32(st.UIDs[1]), GID: uint32(st.GIDs[1]), Groups: groupList(st.Groups)}
	return &standIns{builder: builder, known: map[ids]*task.Process{}, dirs: map[string]*task.Process{}, base: base,
		groups: map[*task.Process][]uint32{builder: base.Groups}}, nil
}

// as gives a process that has an id and a user; nil is anybody.
func (s *standIns) as(c *Cred) (*task.Process, error) {
	if c == nil {
		return s.builder, nil
	}
	// One that has become another user can no longer choose its groups.
	if p := s.known[c.ids()]; p != nil && (c.Groups == nil || c.UID == s.base.UID || slices.Equal(c.Groups, s.groups[p])) {
		return p, s.join(p, c.Groups)
	}
	if c.PID == s.builder.ID && c.UID == s.base.UID && c.GID == s.base.GID {
		return s.builder, s.join(s.builder, c.Groups)
	}
	if err := s.endAll(c.PID); err != nil { // another user had the same id
		return nil, err
	}
	p, err := s.builder.Clone(unix.CLONE_FILES, 0, c.PID)
	if err != nil {
		return nil, err
	}
	s.known[c.ids()], s.groups[p] = p, s.groups[s.builder] // inherited
	if err := s.join(p, c.Groups); err != nil {
		return nil, err
	}
	return p, s.become(p, c)
}

// join gives a process the groups that the tree has seen. Who may not choose
// them, as in a user namespace of one's own, keeps those that he has.
func (s *standIns) join(p *task.Process, groups []uint32) error {
	if groups == nil || slices.Equal(groups, s.groups[p]) {
		return nil
	}
	var list []byte
	for _, g := range groups {
		list = binary.LittleEndian.AppendUint32(list, g)
	}
	var b task.Batch
	b.Add(unix.SYS_SETGROUPS, len(groups), list).Optional()
	s.groups[p] = groups
	return p.Run(&b)
}

// groupList are groups as records have them.
func groupList(groups []int) []uint32 {
	list := []uint32{} // not nil: they are known
	for _, g := range groups {
		list = append(list, uint32(g))
	}
	return list
}

// become makes a stand-in another user.
func (s *standIns) become(p *task.Process, c *Cred) error {
	if c.UID == s.base.UID && c.GID == s.base.GID {
		return nil
	}
	var b task.Batch
	b.Add(unix.SYS_SETRESGID, c.GID, c.GID, c.GID)
	b.Add(unix.SYS_SETRESUID, c.UID, c.UID, c.UID)
	if err := p.Run(&b); err != nil {
		return &HostError{Why: fmt.Sprintf("process %d at the other end of a socket ran as uid %d, gid %d", c.PID, c.UID, c.GID),
			Hint: "restart it as root", Err: err}
	}
	return nil
}

// endAll ends the stand-ins with an id.
func (s *standIns) endAll(id task.ID) error {
	for c, p := range s.known {
		if c.pid == id {
			delete(s.known, c)
			if err := s.end(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// close ends all of them, and leaves the builder as it was.
func (s *standIns) close() error {
	errs := []error{s.join(s.builder, s.base.Groups)}
	for _, p := range s.known {
		errs = append(errs, s.end(p))
	}
	for _, p := range s.dirs {
		errs = append(errs, s.end(p))
	}
	if s.attic != nil {
		errs = append(errs, s.end(s.attic))
	}
	return errors.Join(errs...)
}

// end ends one and reaps it, so that its id is free.
func (s *standIns) end(p *task.Process) error {
	if err := p.Exit(0); err != nil {
		return err
	}
	_, err := s.builder.Call(unix.SYS_WAIT4, p.ID, 0, unix.WALL, 0)
	return err
}

// in gives a process in a directory.
func (s *standIns) in(dir string) (*task.Process, error) {
	if dir == "" {
		return s.builder, nil
	}
	if p := s.dirs[dir]; p != nil {
		return p, nil
	}
	p, err := s.builder.Clone(unix.CLONE_FILES, 0, 0)
	if err != nil {
		return nil, err
	}
	s.dirs[dir] = p
	if _, err := p.Call(unix.SYS_CHDIR, dir); err != nil {
		return nil, fmt.Errorf("chdir %s: %w", dir, err)
	}
	return p, nil
}

// openAttic makes the process with a file system of its own.
func (s *standIns) openAttic() (*task.Process, error) {
	if s.attic != nil {
		return s.attic, nil
	}
	p, err := s.builder.Clone(unix.CLONE_FILES|unix.CLONE_NEWNS, 0, 0)
	if err != nil {
		return nil, err
	}
	s.attic = p
	const place = "/proc" // any directory will do
	var b task.Batch
	b.Add(unix.SYS_MOUNT, "none", "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	b.Add(unix.SYS_MOUNT, "none", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755")
	b.Add(unix.SYS_CHROOT, place)
	b.Add(unix.SYS_CHDIR, "/")
	if err := p.Run(&b); err != nil {
		return nil, &HostError{Why: "cannot give a socket the name that it had", Err: err, Hint: "see `supervise check`"}
	}
	return p, nil
}

// bindInAttic binds a socket to a path that nobody sees, and gives an O_PATH
// descriptor by which it can be connected to while the name is there.
func (s *standIns) bindInAttic(num int, name []byte) (int, error) {
	p, err := s.openAttic()
	if err != nil {
		return -1, err
	}
	var b task.Batch
	at := string(name)
	for i, c := range at {
		if c == '/' && i > 0 {
			b.Add(unix.SYS_MKDIR, at[:i], 0o755).Optional()
		}
	}
	addr := sockaddr(name)
	b.Add(unix.SYS_UNLINK, at).Optional() // of an earlier one
	b.Add(unix.SYS_BIND, num, addr, len(addr))
	b.Add(unix.SYS_CHMOD, at, 0o666)
	ref := b.Add(unix.SYS_OPEN, at, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err := p.Run(&b); err != nil {
		return -1, fmt.Errorf("bind to %q out of sight: %w", printName(name), err)
	}
	return int(ref.Ret), nil
}

// bindFile binds a socket to a path where others find it, as the file was.
func (s *standIns) bindFile(num int, n *UnixName) error {
	p, err := s.in(n.File.Dir)
	if err != nil {
		return err
	}
	at := path.Join(n.File.Dir, string(n.Path))
	if err := removeStale(at, int(s.builder.PID)); err != nil {
		return err
	}
	addr := sockaddr(n.Path)
	if _, err := p.Call(unix.SYS_BIND, num, addr, len(addr)); err != nil {
		return fmt.Errorf("bind to %s: %w", at, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return fmt.Errorf("stat %s: %w", at, err)
	}
	s.files = append(s.files, madeFile{at, st.Ino})
	if err := os.Chmod(at, os.FileMode(n.File.Mode&0o777)); err != nil {
		return err
	}
	if n.File.UID == s.base.UID && n.File.GID == s.base.GID {
		return nil
	}
	return os.Lchown(at, int(n.File.UID), int(n.File.GID))
}

// madeFile is the file of a socket that this restart has made.
type madeFile struct {
	path string
	ino  uint64
}

// remove removes the file, if it is still that one.
func (f madeFile) remove() error {
	var st unix.Stat_t
	if err := unix.Lstat(f.path, &st); err != nil || st.Ino != f.ino {
		return nil // somebody else's by now
	}
	if err := unix.Unlink(f.path); err != nil {
		return fmt.Errorf("remove the socket of a failed restart, %s: %w", f.path, err)
	}
	return nil
}

// removeStale makes room for a socket's file: what the tree left behind when
// it ended, but not what somebody uses.
func removeStale(at string, builder int) error {
	var st unix.Stat_t
	err := unix.Lstat(at, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("stat %s: %w", at, err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return &HostError{Why: at + " is in the place of a socket of the tree", Hint: "remove it, or put it elsewhere"}
	}
	diag, err := ownNetlink(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(diag)
	used, holders := false, map[uint32]string{}
	err = askDiag(diag, 0, func(e unixEntry) {
		// Several may have the name; connections do not count.
		live := e.state == stateListen || !e.hasPeer
		if live && e.bound && e.vfsIno == uint32(st.Ino) && strings.HasSuffix(at, path.Base(string(trimPath(e.name)))) {
			used, holders[e.ino] = true, ""
		}
	})
	if err == nil && !used {
		used, err = usedElsewhere(at, &st, builder)
	}
	if err != nil {
		return err
	}
	if used {
		return &HostError{Why: "another program uses the socket " + at + nameHolder(holders, task.PID(builder)), Hint: "end it first; two trees cannot serve one path"}
	}
	if err := unix.Unlink(at); err != nil {
		return fmt.Errorf("remove %s: %w", at, err)
	}
	return nil
}
