package memimg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The files of an image.
const (
	manifestName = "manifest.json"
	recordsName  = "records"
	indexName    = "index"
	pagesName    = "pages"

	// manifestTemp marks an image that is being made: it is the first file
	// made and the last one removed, and becomes manifestName on Commit.
	manifestTemp = manifestName + ".tmp"
)

const (
	dirPerm  = 0o700
	filePerm = 0o600
)

// A Writer makes an image. It holds a lock on the directory, by which
// Leftover knows it from one that died.
//
// Its methods are not to be called at the same time.
type Writer struct {
	dir      string
	madeDir  bool
	lock     *os.File // the directory itself, flocked
	manifest *os.File // manifestTemp
	pages    *directFile

	next    atomic.Int64 // offset in pages that the next worker gets
	size    int64        // of the pages file, room for the future included
	mu      sync.Mutex   // guards extents and size
	extents []Extent
	behind  *writeBehind // of the last WritePages, or nil

	failed error // why Commit must not happen any more
	done   bool  // committed or aborted

	fault func(step string) error // tests stop Commit before a step with it
}

// Create begins a new image in dir: a directory to be made, in one that
// exists, or an empty one. It fails with ErrNotEmpty or ErrInUse otherwise, and
// then changes nothing.
func Create(dir string) (*Writer, error) {
	w := &Writer{dir: dir}
	if err := w.lockDir(); err != nil {
		return nil, err
	}
	if err := w.begin(); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// lockDir makes the directory where it is missing, and locks it. A cleaner that
// saw it before the lock may have removed it, so look whether it is still there.
func (w *Writer) lockDir() error {
	for {
		err := os.Mkdir(w.dir, dirPerm)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		w.madeDir = err == nil
		w.lock, err = lockDir(w.dir)
		if err == nil {
			return nil
		}
		if !w.madeDir {
			return err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, os.Remove(w.dir))
		}
	}
}

// lockDir opens dir and locks it for a writer, or a cleaner. It fails with
// ErrInUse when another has it, and with fs.ErrNotExist when it is gone.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	locked, err := f.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Stat(dir); err == nil && !os.SameFile(locked, named) {
			err = fmt.Errorf("%s: replaced while it was locked: %w", dir, fs.ErrNotExist)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin makes the mark of an unfinished image and the file for pages.
func (w *Writer) begin() (err error) {
	names, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s: %w", w.dir, ErrNotEmpty)
	}
	w.manifest, err = os.OpenFile(w.path(manifestTemp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	w.pages, err = openDirect(w.path(pagesName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	return err
}

// path is that of the file with this name in the image.
func (w *Writer) path(name string) string { return filepath.Join(w.dir, name) }

// AddExtents puts pages into the image that an earlier image holds: extents
// with a Layer of 1 and up, which Commit's manifest must list, and a Sum of
// exactly their bytes.
func (w *Writer) AddExtents(extents ...Extent) error {
	for _, e := range extents {
		msg := e.check()
		if e.Layer == 0 {
			msg = "is in no earlier layer"
		}
		if msg != "" {
			return fmt.Errorf("%v: %s", e, msg)
		}
	}
	w.extents = append(w.extents, extents...)
	return nil
}

// Abort gives the image up and removes what Create and later calls made, the
// directory included if Create made it. It does nothing after Commit has
// succeeded, or when called again.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	_ = w.Flush() // nobody is to write any more; the error is known, or does not matter now
	var errs []error
	if w.manifest != nil { // nothing in the directory is ours before
		errs = append(errs, removeFiles(w.dir))
	}
	if w.madeDir {
		errs = append(errs, os.Remove(w.dir))
	}
	w.close()
	return errors.Join(errs...)
}

// close closes the files of w, and by that unlocks the directory.
func (w *Writer) close() {
	for _, f := range []*os.File{w.manifest, w.lock} {
		if f != nil {
			f.Close()
		}
	}
	if w.pages != nil {
		w.pages.Close()
	}
}

// sortedExtents orders the extents for the index and counts the bytes of their
// pages. Two that overlap are an error.
func (w *Writer) sortedExtents() (bytes int64, err error) {
	slices.SortFunc(w.extents, compareExtents)
	for i, e := range w.extents {
		if i > 0 && !e.follows(w.extents[i-1]) {
			return 0, fmt.Errorf("%v: overlaps the %v", e, w.extents[i-1])
		}
		bytes += int64(e.Bytes())
	}
	if len(w.extents) > maxExtents {
		return 0, fmt.Errorf("%d extents, more than %d", len(w.extents), maxExtents)
	}
	return bytes, nil
}
