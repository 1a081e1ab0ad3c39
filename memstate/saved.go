package memstate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Saved is the image record of what belongs to a file that has a name, whose
// content was saved because a rule said so.
type Saved struct {
	UID   uint32 `cbor:"1,keyasint,omitempty" json:"uid"`
	GID   uint32 `cbor:"2,keyasint,omitempty" json:"gid"`
	MTime int64  `cbor:"3,keyasint" json:"mtime_ns"`
}

func saved(st *unix.Stat_t) *Saved {
	return &Saved{UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Nano()}
}

// saves tells whether a mapping is of a file whose content is saved: a rule
// said so of a descriptor, or it is memory of shm_open(3), which no reboot
// survives. Then the mapping shows the saved file.
func (o *Objects) saves(p *Process, v *procfs.VMA) bool {
	if v.Deleted {
		return false
	}
	key := inode{dev: unix.Mkdev(v.DevMajor, v.DevMinor), ino: v.Ino}
	if obj := o.byIno[key]; obj != nil {
		return obj.Saved != nil
	}
	return strings.HasPrefix(v.Path, "/dev/shm/") && o.saveMapped(p, v, key)
}

// saveMapped registers a file that is mapped, if it can be read.
func (o *Objects) saveMapped(p *Process, v *procfs.VMA, key inode) bool {
	file, found := o.reach(p, v)
	if !found || file.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	f, err := os.Open(file.path)
	if err != nil {
		return false
	}
	obj, _ := o.get(key)
	obj.Kind, obj.Name, obj.Saved = SavedFile, v.Path, saved(&file.stat)
	return obj.setFile(f, &file.stat) == nil
}

// tempMark is in the names of saved files until the restart has succeeded.
const tempMark = ".supervise-"

// openSaved makes a saved file under a name beside its own, which it gets when
// it is complete: a restart that fails leaves what is there now.
func (o *Object) openSaved(builder *task.Process) (fd int64, temp string, err error) {
	dir, name := filepath.Split(o.Name)
	removeStale(dir, "."+name+tempMark)
	temp = fmt.Sprintf("%s.%s%s%d", dir, name, tempMark, builder.PID)
	fd, err = builder.Call(unix.SYS_OPEN, temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	return fd, temp, err
}

// removeStale removes what a killed restart has left.
func removeStale(dir, prefix string) {
	stale, _ := filepath.Glob(dir + globQuote(prefix) + "*")
	for _, file := range stale {
		pid, err := strconv.Atoi(file[len(dir+prefix):])
		if err == nil && !task.PID(pid).Alive() {
			_ = os.Remove(file)
		}
	}
}

// globQuote keeps filepath.Glob from reading a name as a pattern.
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// savedFile is a saved file while the tree is being restarted.
type savedFile struct {
	name, temp string
	published  bool
	replaced   bool // temp is what was there before
}

// Publish gives saved files their owners, modes, times and names. What is there
// changes places with them, so that Abort can undo it.
//
// Preconditions:
//   - The builder still has the objects open.
func (r *ObjectRestorer) Publish(builder *task.Process) error {
	for i := range r.objects {
		o := &r.objects[i]
		if o.Saved == nil {
			continue
		}
		if err := o.giveBack(builder, r.fds[o.ID]); err != nil {
			return fmt.Errorf("bring back %s: %w", o.Name, err)
		}
		if err := r.saved[o.ID].publish(); err != nil {
			return fmt.Errorf("bring back %s: %w", o.Name, err)
		}
	}
	return nil
}

func (s *savedFile) publish() error {
	err := unix.Renameat2(unix.AT_FDCWD, s.temp, unix.AT_FDCWD, s.name, unix.RENAME_EXCHANGE)
	s.replaced = err == nil
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // nothing there, or a file system without exchange
		err = os.Rename(s.temp, s.name)
	}
	s.published = err == nil
	return err
}

// Done removes what the saved files have replaced. Nothing fails any more.
func (r *ObjectRestorer) Done() {
	for _, s := range r.saved {
		if s.replaced {
			_ = os.Remove(s.temp)
		}
	}
}

// Abort leaves the names of saved files to what had them before.
func (r *ObjectRestorer) Abort() error {
	var errs []error
	for _, s := range r.saved {
		var err error
		switch {
		case s.replaced:
			err = unix.Renameat2(unix.AT_FDCWD, s.temp, unix.AT_FDCWD, s.name, unix.RENAME_EXCHANGE)
			err = errors.Join(err, os.Remove(s.temp))
		case s.published:
			err = os.Remove(s.name)
		default:
			err = os.Remove(s.temp)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// giveBack makes the calls ourselves: in its user namespace the builder may
// not give files away.
func (o *Object) giveBack(builder *task.Process, num int) error {
	pidfd, err := unix.PidfdOpen(int(builder.PID), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open %d: %w", builder.PID, err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, num, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	if st.Uid != o.Saved.UID || st.Gid != o.Saved.GID {
		if err := unix.Fchown(fd, int(o.Saved.UID), int(o.Saved.GID)); err != nil {
			return fmt.Errorf("give it to uid %d, gid %d: %w", o.Saved.UID, o.Saved.GID, err)
		}
	}
	if err := unix.Fchmod(fd, o.Mode); err != nil { // after fchown, which takes setuid bits
		return fmt.Errorf("fchmod: %w", err)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(o.Saved.MTime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0); err != nil {
		return fmt.Errorf("set its time: %w", err)
	}
	return nil
}
