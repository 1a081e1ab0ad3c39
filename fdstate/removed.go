package fdstate

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// RemovedDir is a directory that somebody has removed. It was empty then, and
// stays so: nothing can be made in it.
type RemovedDir struct {
	ID   uint64 `cbor:"1,keyasint" json:"id"` // the same for all descriptions of one
	Mode uint32 `cbor:"2,keyasint" json:"mode"`
	UID  uint32 `cbor:"3,keyasint" json:"uid"`
	GID  uint32 `cbor:"4,keyasint" json:"gid"`
}

// removedDir gives nil for what is no removed directory.
func (d *Desc) removedDir() *RemovedDir {
	if d.mode() != unix.S_IFDIR || d.Stat.Nlink > 0 {
		return nil
	}
	return &RemovedDir{ID: d.Stat.Ino, Mode: d.Stat.Mode & 0o7777, UID: d.Stat.Uid, GID: d.Stat.Gid}
}

// hold makes the directory, once, and removes it again. It gives a reserved
// number through which it can be opened. Where none can be made at the old
// place, or somebody has made one since, it lay elsewhere.
func (rec *RemovedDir) hold(o *Opener, link string) (int, error) {
	if num, ok := o.r.removed[rec.ID]; ok {
		return num, nil
	}
	if err := o.Run(); err != nil {
		return -1, err
	}
	was, _ := procfs.CutDeleted(link)
	name := fmt.Sprintf("%s.removed.%d", path.Base(was), o.Proc.ID)
	var errs []error
	for _, dir := range []string{was, path.Join(path.Dir(was), name), path.Join("/tmp", name), path.Join("/dev/shm", name)} {
		_, err := o.Proc.Call(unix.SYS_MKDIR, dir, 0o700)
		if err == nil {
			num := o.r.Reserve()
			o.r.removed[rec.ID] = num
			rec.leaveBehind(o, dir, num)
			return num, nil
		}
		errs = append(errs, err)
	}
	return -1, errors.Join(errs...)
}

// leaveBehind opens the directory and removes it. Its owner and mode come when
// it has been opened everywhere.
func (rec *RemovedDir) leaveBehind(o *Opener, dir string, num int) {
	o.OpenPath(Slot{Num: num, CloseOnExec: true}, "open", dir, unix.O_RDONLY|unix.O_DIRECTORY)
	o.Call("rmdir", unix.SYS_RMDIR, dir)
	o.Last(func(o *Opener) error {
		o.stat(num, func(st *unix.Stat_t) error {
			if st.Uid != rec.UID || st.Gid != rec.GID {
				if _, err := o.Proc.Call(unix.SYS_FCHOWN, num, rec.UID, rec.GID); err != nil {
					return fmt.Errorf("give %s to uid %d, gid %d: %w", dir, rec.UID, rec.GID, err)
				}
			}
			_, err := o.Proc.Call(unix.SYS_FCHMOD, num, rec.Mode)
			return err
		})
		return nil
	})
}
