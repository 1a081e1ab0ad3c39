package fdstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// WatchName is how a watched file is found again at a restart.
type WatchName struct {
	Path string `cbor:"1,keyasint" json:"path"`

	// Follow: Path is a link of /proc to a file without a name that a process
	// of the tree has open. Any other path is of the file itself, even of a
	// symbolic link.
	Follow bool `cbor:"2,keyasint,omitempty" json:"follow,omitempty"`
}

// fileKey is what fdinfo tells about a watched file: the file system, and the
// file's handle in it or, where there are no handles, its inode.
type fileKey struct {
	sdev   uint32 // the kernel's own form of a device number
	ino    uint64 // only if there is no handle
	kind   int
	handle string
}

func watchKey(sdev uint32, ino uint64, kind int, handle []byte) fileKey {
	if len(handle) > 0 {
		ino = 0
	}
	return fileKey{sdev, ino, kind, string(handle)}
}

// watched finds the files that a tree's inotify and fanotify instances watch.
// Nothing is opened for it that is watched for being opened: looking must not
// make events.
type watched struct {
	s      *Survey
	wanted map[fileKey]bool // a name is needed: being open in the tree does not help
	inodes map[uint64]bool  // of what is wanted, to tell quickly what is not
	found  map[fileKey]*WatchName
	mounts map[int]procfs.Mount
	root   string           // /proc/PID/root of the tree's root
	where  map[uint32]bool  // the file systems with something wanted
	told   map[fileKey]bool // somebody hears of it when they are opened
	other  bool             // one of them shows other inode numbers than fdinfo has
}

// sdev is the device of a mount's file system in the kernel's own form.
func sdev(m procfs.Mount) uint32 { return m.DevMajor<<20 | m.DevMinor }

// findWatched looks for everything that is watched, once: first where it may
// well be, then by handle, which takes privilege, and then everywhere.
func (s *Survey) findWatched() (*watched, error) {
	if s.watched != nil {
		return s.watched, nil
	}
	w := &watched{s: s, wanted: map[fileKey]bool{}, inodes: map[uint64]bool{}, found: map[fileKey]*WatchName{},
		where: map[uint32]bool{}, mounts: map[int]procfs.Mount{}, root: fmt.Sprintf("/proc/%d/root", s.pid(0))}
	mounts, err := procfs.ReadMountInfo(int(s.pid(0)))
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		w.mounts[m.ID] = m
	}
	for _, d := range s.Descs {
		if err := w.want(d); err != nil {
			return nil, err
		}
	}
	for _, m := range w.mounts {
		w.other = w.other || m.FSType == "overlay" && w.where[sdev(m)]
	}
	for _, search := range []func(){w.searchKnown, w.searchOpen, w.searchHandles, w.searchTrees} {
		if len(w.found) < len(w.wanted) {
			search()
		}
	}
	s.watched = w
	return w, nil
}

// want adds what a description watches, and itself if it needs another name.
func (w *watched) want(d *Desc) error {
	if d.InFlight() {
		return nil
	}
	if d.nameGone() {
		if key, ok := w.keyOf(fdPath(d.PID, d.FD), unix.AT_SYMLINK_FOLLOW); ok {
			d.fileKey = key
			w.wanted[key] = true
			w.inodes[d.Stat.Ino], w.where[key.sdev] = true, true
		}
	}
	files, err := watches(d.Link, &d.Info)
	for _, f := range files {
		if _, ok := w.wanted[f.key]; !ok {
			w.wanted[f.key] = false
		}
		w.inodes[f.ino], w.where[f.key.sdev] = true, true
	}
	return err
}

// watchedFile is what fdinfo says of a watch.
type watchedFile struct {
	key  fileKey
	ino  uint64
	mask uint32 // the bits of events are the same for inotify and fanotify
}

// watches lists the files that a descriptor watches: none if its link is not of
// such a kind.
func watches(link string, info *procfs.FDInfo) (files []watchedFile, err error) {
	switch link {
	case "anon_inode:inotify":
		in, err := info.Inotify()
		for _, w := range in {
			files = append(files, watchedFile{watchKey(w.Sdev, w.Ino, w.HandleType, w.Handle), w.Ino, w.Mask})
		}
		return files, err
	case "anon_inode:[fanotify]":
		group, err := info.Fanotify()
		for _, m := range group.Marks {
			if m.On == procfs.OnInode {
				files = append(files, watchedFile{watchKey(m.Sdev, m.Ino, m.HandleType, m.Handle), m.Ino, m.Mask})
			}
		}
		return files, err
	}
	return nil, nil
}

// searchKnown tries the names that the tree's processes have in use, and the
// directories above them.
func (w *watched) searchKnown() {
	tried := map[string]bool{}
	try := func(name string) {
		for strings.HasPrefix(name, "/") && !tried[name] {
			tried[name] = true
			w.tryPath(name)
			name = path.Dir(name)
		}
	}
	for _, d := range w.s.Descs {
		try(d.Link)
	}
	for i := range w.s.Procs {
		for _, link := range []func(int) (string, error){procfs.Cwd, procfs.Exe} {
			if name, err := link(int(w.s.pid(i))); err == nil {
				try(name)
			}
		}
	}
}

// tryPath looks at one name, as the tree sees it.
func (w *watched) tryPath(name string) {
	if key, ok := w.keyOf(w.root+name, 0); ok && w.found[key] == nil {
		if _, ok := w.wanted[key]; ok {
			w.found[key] = &WatchName{Path: name}
		}
	}
}

// searchOpen tries what the tree has open, for files that have no name.
func (w *watched) searchOpen() {
	for _, d := range w.s.Descs {
		if d.InFlight() {
			continue
		}
		key, ok := w.keyOf(fdPath(d.PID, d.FD), unix.AT_SYMLINK_FOLLOW)
		if named, wanted := w.wanted[key]; !ok || !wanted || named || w.found[key] != nil {
			continue
		}
		w.found[key] = &WatchName{Path: fmt.Sprintf("/proc/%d/fd/%d", w.s.Procs[d.Proc].Held.ID, d.FD), Follow: true}
	}
}

// keyOf asks a name for its file's key. The mount tells the device: stat(2)
// gives another on some file systems (btrfs, overlay).
func (w *watched) keyOf(name string, follow int) (fileKey, bool) {
	const handleFID = 0x200 // AT_HANDLE_FID, Linux include/uapi/linux/fcntl.h
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow != 0 {
		flags = 0
	}
	if unix.Fstatat(unix.AT_FDCWD, name, &st, flags) != nil {
		return fileKey{}, false
	}
	key := fileKey{sdev: unix.Major(st.Dev)<<20 | unix.Minor(st.Dev), ino: st.Ino}
	h, id, err := unix.NameToHandleAt(unix.AT_FDCWD, name, handleFID|follow)
	if err != nil {
		return key, true
	}
	if m, ok := w.mounts[id]; ok {
		key.sdev = sdev(m)
	}
	return watchKey(key.sdev, st.Ino, int(h.Type()), h.Bytes()), true
}

// searchHandles opens handles (CAP_DAC_READ_SEARCH): the kernel knows the name
// of what it opens, as far as it has one.
func (w *watched) searchHandles() {
	for _, m := range w.mounts {
		if w.where[sdev(m)] {
			fromDirectory(w.root+m.MountPoint, func() { w.tryHandles(sdev(m)) })
		}
	}
}

// fromDirectory runs fn in a thread that works in another directory: that takes
// no open(2), which would be an event.
func fromDirectory(dir string, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // it ends with the goroutine
		if unix.Unshare(unix.CLONE_FS) == nil && unix.Chdir(dir) == nil {
			fn()
		}
	}()
	<-done
}

// tryHandles tries what is wanted of the file system that the caller works in.
func (w *watched) tryHandles(sdev uint32) {
	for key := range w.wanted {
		if w.found[key] == nil && key.handle != "" && key.sdev == sdev {
			w.tryHandle(key)
		}
	}
}

func (w *watched) tryHandle(key fileKey) {
	fd, err := unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(int32(key.kind), []byte(key.handle)), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if name, err := procfs.FDLink(unix.Getpid(), fd); err == nil {
		w.tryPath(name)
	}
}

// openDir opens a directory of the tree, unless somebody would be told; -1 if
// it cannot be.
func (w *watched) openDir(name string) int {
	for _, dir := range []string{name, path.Dir(name)} {
		if key, ok := w.keyOf(w.root+dir, 0); ok && w.told[key] {
			return -1
		}
	}
	fd, err := unix.Open(w.root+name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(w.root+name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return -1
	}
	return fd
}

// searchTime bounds searchTrees, since the tree stands still meanwhile.
const searchTime = 5 * time.Second

// searchTrees walks the file systems breadth-first, from the directories that
// processes work in and then from every mount.
func (w *watched) searchTrees() {
	w.told = onlookers()
	var queue []string
	for i := range w.s.Procs {
		if name, err := procfs.Cwd(int(w.s.pid(i))); err == nil && !slices.Contains(queue, name) {
			queue = append(queue, name)
		}
	}
	for _, found := range w.found {
		queue = append(queue, found.Path)
	}
	for _, m := range w.mounts {
		if w.where[sdev(m)] {
			w.tryPath(m.MountPoint)
			queue = append(queue, m.MountPoint)
		}
	}
	seen := map[string]bool{}
	for end := time.Now().Add(searchTime); len(queue) > 0 && len(w.found) < len(w.wanted) && time.Now().Before(end); queue = queue[1:] {
		if dir := queue[0]; !seen[dir] {
			seen[dir] = true
			queue = append(queue, w.searchDir(dir)...)
		}
	}
}

// searchDir tries the names in one directory and gives the directories among
// them.
func (w *watched) searchDir(dir string) (subdirs []string) {
	if key, ok := w.keyOf(w.root+dir, 0); !ok || !w.where[key.sdev] {
		return nil
	}
	fd := w.openDir(dir)
	if fd < 0 {
		return nil
	}
	defer unix.Close(fd)
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			return subdirs
		}
		for rest := buf[:n]; len(rest) > 0; rest = rest[binary.LittleEndian.Uint16(rest[16:]):] {
			entry := parseDirent(rest)
			name := path.Join(dir, entry.name)
			if entry.name == "." || entry.name == ".." {
				continue
			}
			if w.inodes[entry.ino] || w.other {
				w.tryPath(name)
			}
			if entry.kind == unix.DT_DIR {
				subdirs = append(subdirs, name)
			}
		}
	}
}

// dirent is struct linux_dirent64 (man 2 getdents).
type dirent struct {
	ino  uint64
	kind byte
	name string
}

func parseDirent(b []byte) dirent {
	size := binary.LittleEndian.Uint16(b[16:])
	return dirent{binary.LittleEndian.Uint64(b), b[18], unix.ByteSliceToString(b[19:size])}
}
