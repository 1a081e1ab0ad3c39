package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// files is what the work directory held when a snapshot was taken. A snapshot
// does not hold regular files, so whoever restarts an old one keeps them apart.
type files map[string]saved

type saved struct {
	content  []byte
	modified time.Time
}

// saveFiles reads the work directory.
func (p *place) saveFiles() files {
	p.t.Helper()
	all := make(files)
	must(p.t, filepath.WalkDir(p.path("work"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		all[name] = saved{b, info.ModTime()}
		return err
	}))
	return all
}

// putBack makes the work directory hold what it held, in the same inodes where
// they still exist.
func (p *place) putBack(all files) {
	p.t.Helper()
	must(p.t, filepath.WalkDir(p.path("work"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if _, ok := all[name]; !ok {
			return os.Remove(name)
		}
		return nil
	}))
	for name, s := range all {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		must(p.t, err)
		st, err := f.Stat()
		must(p.t, err)
		if st.Sys().(*syscall.Stat_t).Uid != uint32(p.user.uid) {
			must(p.t, f.Chown(p.user.uid, p.user.uid))
		}
		_, err = f.WriteAt(s.content, 0)
		must(p.t, err)
		must(p.t, f.Truncate(int64(len(s.content))))
		must(p.t, f.Close())
		must(p.t, os.Chtimes(name, s.modified, s.modified))
	}
}
