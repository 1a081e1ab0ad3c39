package fdstate

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"supervise/policy"
)

// Redirected is the image record of a description in whose place a rule put
// another file.
type Redirected struct {
	Path string `cbor:"1,keyasint" json:"path"`
	From int    `cbor:"2,keyasint" json:"from"` // the file that it stands for
}

// nowhere is what an ignored description is redirected to.
const nowhere = "/dev/null"

// never matches nothing: such records are made by rules.
func never(*Desc) bool { return false }

// redirected makes the file that takes the place of another. What was no
// regular file has no position to go on from: its output is appended.
func redirected(s *State, file int, rule *policy.Rule) (File, error) {
	was := &s.Files[file]
	data, err := encodeRecord(&Redirected{Path: target(rule.To, was.Link), From: file})
	f := File{Tag: tagRedirected, Flags: accessOf(was.Flags) | was.Flags&(unix.O_DIRECTORY|unix.O_NONBLOCK), Link: was.Link, Data: data}
	if was.Tag == tagRegular || was.Tag == tagObject {
		f.Flags |= was.Flags & (unix.O_APPEND | unix.O_SYNC)
		f.Pos = was.Pos
	}
	if f.Flags&unix.O_ACCMODE != unix.O_RDONLY && (rule.Append || was.Tag != tagRegular && was.Tag != tagObject) {
		f.Flags |= unix.O_APPEND
	}
	return f, err
}

// accessOf is the access mode. What is open as a path only is read.
func accessOf(flags int) int {
	if flags&unix.O_PATH != 0 {
		return unix.O_RDONLY
	}
	return flags & unix.O_ACCMODE
}

// Restore opens the other file, and makes it if it is to be written to.
func (rec *Redirected) Restore(o *Opener, f *File, at Slot) error {
	const mode = 0o666 // less the umask of the restart
	flags := openFlags(f.Flags) | unix.O_NONBLOCK | unix.O_NOCTTY | at.flag()
	if f.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		flags |= unix.O_CREAT
	}
	o.Open(at, "open "+rec.Path, unix.SYS_OPENAT, unix.AT_FDCWD, rec.Path, flags, mode)
	if f.Pos > 0 {
		o.Then(func() error { return rec.seek(o, f.Pos, at.Num) })
	}
	return nil
}

// seek goes to the old position, or to the end of a file that is shorter.
func (rec *Redirected) seek(o *Opener, pos int64, num int) error {
	fd, err := o.Copy(num)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", rec.Path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	if _, err := unix.Seek(fd, min(pos, st.Size), unix.SEEK_SET); err != nil {
		return fmt.Errorf("lseek %s: %w", rec.Path, err)
	}
	return nil
}

// Check is for records out of an image.
func (rec *Redirected) Check(s *State) error {
	if rec.From < 0 || rec.From >= len(s.Files) || s.Files[rec.From].Tag == tagRedirected || !path.IsAbs(rec.Path) {
		return fmt.Errorf("not a redirected file: %+v", *rec)
	}
	return nil
}

// Redirect is the path that a rule has put in the file's place, or "".
func (f *File) Redirect() string {
	var rec Redirected
	if f.Tag != tagRedirected || decodeRecord(f.Data, &rec) != nil {
		return ""
	}
	return rec.Path
}
