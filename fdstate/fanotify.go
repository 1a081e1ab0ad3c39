package fdstate

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Flags and events that the kernel has besides those of unix (Linux
// include/uapi/linux/fanotify.h, v6.14).
const (
	fanMarkIgnore = 0x400
	fanPreAccess  = 0x100000

	// permissions are events that somebody waits for an answer to.
	permissions = unix.FAN_OPEN_PERM | unix.FAN_ACCESS_PERM | unix.FAN_OPEN_EXEC_PERM | fanPreAccess
)

// Fanotify is the image record of a fanotify(7) group. As with inotify, its
// events can be looked at only by taking them out. So it is captured when it
// has none; and its kinds of events are too many for an overflow to be made.
//
// Whether a group was made without privilege, which withholds the ids of other
// processes, does not show. It is again if whoever restarts has none.
type Fanotify struct {
	Flags      uint32 `cbor:"1,keyasint,omitempty" json:"flags"`       // FAN_*, as given to fanotify_init(2)
	EventFlags uint32 `cbor:"2,keyasint,omitempty" json:"event_flags"` // O_*, the same
	Marks      []Mark `cbor:"3,keyasint,omitempty" json:"marks,omitempty"`
}

// Mark is what a group wants to know of a file, a mount or a file system.
type Mark struct {
	Flags   uint32    `cbor:"1,keyasint,omitempty" json:"flags"` // FAN_MARK_*
	Mask    uint32    `cbor:"2,keyasint,omitempty" json:"mask"`
	Ignored uint32    `cbor:"3,keyasint,omitempty" json:"ignored,omitempty"`
	File    WatchName `cbor:"4,keyasint" json:"file"` // of a mount or file system: where it is mounted
}

func captureFanotify(d *Desc, s *Survey) (Record, error) {
	group, err := d.Info.Fanotify()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(group.Marks, func(m procfs.FanotifyMark) bool { return (m.Mask|m.Ignored)&permissions != 0 }) {
		return nil, Refuse("it allows or forbids what others do (permission events), and who waits for its answer cannot be seen", "")
	}
	if err := d.refuseEvents(); err != nil {
		return nil, err
	}
	names, err := s.findWatched()
	if err != nil {
		return nil, err
	}
	rec := &Fanotify{Flags: group.Flags, EventFlags: group.EventFlags}
	for _, m := range slices.Backward(group.Marks) { // the oldest comes last
		mark, err := names.mark(m)
		if err != nil {
			return nil, err
		}
		rec.Marks = append(rec.Marks, mark)
	}
	return rec, nil
}

// mark names what a mark is on.
func (w *watched) mark(m procfs.FanotifyMark) (Mark, error) {
	mark := Mark{Flags: m.Flags, Mask: m.Mask, Ignored: m.Ignored}
	var file *WatchName
	what := ""
	switch m.On {
	case procfs.OnInode:
		file = w.found[watchKey(m.Sdev, m.Ino, m.HandleType, m.Handle)]
		what = fmt.Sprintf("the file of its mark (inode %d of device %d:%d)", m.Ino, m.Sdev>>20, m.Sdev&(1<<20-1))
	case procfs.OnMount:
		mark.Flags |= unix.FAN_MARK_MOUNT
		file = w.mountName(func(id int, _ procfs.Mount) bool { return id == m.Mount })
		what = fmt.Sprintf("the mount %d of its mark", m.Mount)
	case procfs.OnFilesystem:
		mark.Flags |= unix.FAN_MARK_FILESYSTEM
		file = w.mountName(func(_ int, mount procfs.Mount) bool { return sdev(mount) == m.Sdev })
		what = fmt.Sprintf("the file system of its mark (device %d:%d)", m.Sdev>>20, m.Sdev&(1<<20-1))
	}
	if file == nil {
		return mark, Refuse(what+" was not found by any name", "root finds every file that still has a name")
	}
	mark.File = *file
	return mark, nil
}

// mountName gives the place of the first mount that fits, and that no other
// mount hides.
func (w *watched) mountName(fits func(id int, m procfs.Mount) bool) *WatchName {
	best := -1
	for id, m := range w.mounts {
		if !fits(id, m) || best >= 0 && id > best {
			continue
		}
		if st, err := statMount(w.root + m.MountPoint); err == nil && int(st.Mnt_id) == id {
			best = id
		}
	}
	if best < 0 {
		return nil
	}
	return &WatchName{Path: w.mounts[best].MountPoint}
}

// statMount asks which mount a name leads to, and whether it is its root.
func statMount(name string) (st unix.Statx_t, err error) {
	err = unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	return st, err
}

// Restore makes a group without marks. FAN_CLOEXEC and FAN_NONBLOCK are what
// the descriptor began with; what it is now comes later.
func (rec *Fanotify) Restore(o *Opener, _ *File, at Slot) error {
	o.Open(at, "fanotify_init", unix.SYS_FANOTIFY_INIT, rec.Flags, rec.EventFlags)
	return nil
}

// Check is for records out of an image.
func (rec *Fanotify) Check(*State) error {
	for _, m := range rec.Marks {
		if m.Flags&unix.FAN_MARK_MOUNT != 0 && m.Flags&unix.FAN_MARK_FILESYSTEM != 0 {
			return fmt.Errorf("mark of %s with flags %#x", m.File.Path, m.Flags)
		}
	}
	return nil
}

// Watch adds the marks. Each is made in one call for its events, and one for
// those that are ignored.
func (rec *Fanotify) Watch(o *Opener, num int) {
	for i := range rec.Marks {
		m := &rec.Marks[i]
		if m.onMount() {
			o.Then(func() error { return m.checkMount(o.Proc) })
		}
		flags := m.Flags&^(fanMarkIgnore|unix.FAN_MARK_IGNORED_SURV_MODIFY) | unix.FAN_MARK_ADD
		if !m.File.Follow {
			flags |= unix.FAN_MARK_DONT_FOLLOW
		}
		what := "fanotify_mark " + m.File.Path
		if m.Mask != 0 {
			o.Call(what, unix.SYS_FANOTIFY_MARK, num, flags, m.Mask, unix.AT_FDCWD, m.File.Path)
		}
		if m.Ignored != 0 {
			o.Call(what, unix.SYS_FANOTIFY_MARK, num, flags|m.ignoreFlags(), m.Ignored, unix.AT_FDCWD, m.File.Path)
		}
	}
}

// ignoreFlags are those by which the ignored events are given.
func (m *Mark) ignoreFlags() uint32 {
	if m.Flags&fanMarkIgnore != 0 {
		return m.Flags & (fanMarkIgnore | unix.FAN_MARK_IGNORED_SURV_MODIFY)
	}
	return m.Flags&unix.FAN_MARK_IGNORED_SURV_MODIFY | unix.FAN_MARK_IGNORED_MASK
}

func (m *Mark) onMount() bool {
	return m.Flags&(unix.FAN_MARK_MOUNT|unix.FAN_MARK_FILESYSTEM) != 0
}

// checkMount makes sure that a mark is not on a mount that is another, or that
// only the tree uses.
func (m *Mark) checkMount(p *task.Process) error {
	st, err := statMount(procfs.Reach(int(p.PID), m.File.Path))
	if err != nil {
		return fmt.Errorf("stat %s: %w", m.File.Path, err)
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return fmt.Errorf("a fanotify mark was on what is mounted at %s, where nothing is mounted now", m.File.Path)
	}
	if m.Flags&unix.FAN_MARK_MOUNT == 0 {
		return nil
	}
	theirs, err := procfs.Namespace(int(p.PID), "mnt")
	if err != nil {
		return err
	}
	ours, err := procfs.OwnNamespace("mnt")
	if err == nil && theirs != ours {
		return fmt.Errorf("a fanotify mark is on the mount at %s, and the tree gets mounts of its own (its ids are in use here)", m.File.Path)
	}
	return err
}
