package fdstate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/policy"
)

// Regular is the image record of a regular file that is opened again by its
// name, File.Link.
type Regular struct {
	Size int64 `cbor:"1,keyasint,omitempty" json:"size"`

	// Other is another name of the file, if the one that it was opened by is
	// gone.
	Other string `cbor:"2,keyasint,omitempty" json:"other,omitempty"`
}

// ShrunkError says that a file has lost bytes since the snapshot.
type ShrunkError struct {
	Path      string
	Was, Size int64
}

func (e *ShrunkError) Error() string {
	return fmt.Sprintf("%s is shorter than in the snapshot: %d bytes, was %d", e.Path, e.Size, e.Was)
}

// TypeError says that a name leads to another type of file than it did.
type TypeError struct {
	Path      string
	Was, Mode uint32
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%s is another type of file than in the snapshot: mode %#o, was %#o", e.Path, e.Mode, e.Was)
}

func isRegular(d *Desc) bool {
	return d.mode() == unix.S_IFREG && strings.HasPrefix(d.Link, "/") && !isSecret(d) && !isMessageQueue(d)
}

func captureRegular(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	if err := d.checkProcFile(s); err != nil {
		return nil, err
	}
	rec := &Regular{Size: d.Stat.Size}
	err := d.checkPath()
	if d.nameGone() {
		rec.Other, err = d.otherName()
	}
	return rec, err
}

// nameGone tells that a file was opened by a name which was removed, and has
// others.
func (d *Desc) nameGone() bool {
	return d.mode() == unix.S_IFREG && d.Stat.Nlink > 0 && strings.HasSuffix(d.Link, " (deleted)") && d.checkPath() != nil
}

// otherName finds another name of the file.
func (d *Desc) otherName() (string, error) {
	w, err := d.survey.findWatched()
	if err != nil {
		return "", err
	}
	name := w.found[d.fileKey]
	if name == nil {
		return "", Refuse("its name was removed, and none of its other names was found", "root finds every file that still has a name")
	}
	return name.Path, nil
}

// checkProcFile refuses files of /proc about processes that do not exist, for
// certain, when they are opened again: all processes of the tree do when a
// process opens what it alone has, and none does before. Threads come later.
func (d *Desc) checkProcFile(s *Survey) error {
	rest, ok := strings.CutPrefix(d.Link, "/proc/")
	if !ok || rest[0] < '0' || rest[0] > '9' {
		return nil
	}
	id, file, _ := strings.Cut(rest, "/")
	inTree := slices.ContainsFunc(s.Procs, func(p Proc) bool { return id == fmt.Sprint(p.Held.ID) })
	shared := d.InFlight() || slices.ContainsFunc(d.Users, func(u User) bool { return u.Proc != d.Proc })
	switch {
	case !inTree:
		return Refuse("it is a file of /proc about a process outside the tree", "")
	case strings.HasPrefix(file, "task/"):
		return Refuse("it is a file of /proc about a thread", "")
	case shared:
		return Refuse("it is a file of /proc about a process, shared by several processes", "")
	}
	return nil
}

// Restore opens the file and never creates or truncates it. One that has
// grown is fine, as is.
func (rec *Regular) Restore(o *Opener, f *File, at Slot) error {
	path := cmp.Or(rec.Other, f.Link)
	o.OpenPath(at, "open", path, f.Flags)
	o.stat(at.Num, func(st *unix.Stat_t) error {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			return &TypeError{Path: path, Was: unix.S_IFREG, Mode: st.Mode}
		case st.Size < rec.Size:
			return &ShrunkError{Path: path, Was: rec.Size, Size: st.Size}
		}
		return nil
	})
	o.Seek(at.Num, f.Pos)
	return nil
}

// Truncate cuts back the files that have grown since the snapshot, as far as
// rules say so and the tree has them open for writing. Nothing of the restart
// may fail after it. procs have the tables, in order.
func (r *Restorer) Truncate(procs []*task.Process) error {
	for file := range r.state.Files {
		f, first := &r.state.Files[file], r.firstProc(file)
		rec, ok := r.records[file].(*Regular)
		if !ok || !f.rule.Does(policy.Truncate) || first < 0 || f.Flags&unix.O_ACCMODE == unix.O_RDONLY {
			continue
		}
		o := r.opener(procs[first])
		if err := rec.truncate(o, r.nums[file]); err != nil {
			return fmt.Errorf("truncate %s to %d bytes: %w", f.Link, rec.Size, err)
		}
	}
	return nil
}

func (rec *Regular) truncate(o *Opener, num int) error {
	fd, err := o.Copy(num)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size <= rec.Size {
		return err
	}
	return unix.Ftruncate(fd, rec.Size)
}
