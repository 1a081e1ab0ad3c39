package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// files is what the work directory held when a snapshot was taken. A snapshot
// does not hold regular files, so whoever restarts an old one keeps them apart.
type files map[string][]byte

// saveFiles reads the work directory.
func (p *place) saveFiles() files {
	p.t.Helper()
	saved := make(files)
	must(p.t, filepath.WalkDir(p.path("work"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		saved[name] = b
		return err
	}))
	return saved
}

// putBack makes the work directory hold what it held, in the same inodes where
// they still exist.
func (p *place) putBack(saved files) {
	p.t.Helper()
	must(p.t, filepath.WalkDir(p.path("work"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if _, ok := saved[name]; !ok {
			return os.Remove(name)
		}
		return nil
	}))
	for name, b := range saved {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		must(p.t, err)
		st, err := f.Stat()
		must(p.t, err)
		if st.Sys().(*syscall.Stat_t).Uid != uint32(p.user.uid) {
			must(p.t, f.Chown(p.user.uid, p.user.uid))
		}
		_, err = f.WriteAt(b, 0)
		must(p.t, err)
		must(p.t, f.Truncate(int64(len(b))))
		must(p.t, f.Close())
	}
}
