package memimg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxRecords is the longest records file.
const maxRecords = 1 << 30

// Commit finishes the image: it exists from then on, whatever happens. It
// returns the manifest as a reader will see it. When it fails the image does
// not exist, and Abort is still to be called.
func (w *Writer) Commit(m Manifest, records []byte) (Manifest, error) {
	if w.done {
		return Manifest{}, fmt.Errorf("%s: image is already committed or aborted", w.dir)
	}
	if w.failed != nil {
		return Manifest{}, w.failed
	}
	c := commit{Writer: w, m: m, records: records}
	defer c.closeFiles()
	for _, s := range commitSteps {
		err := w.faultBefore(s.name)
		if err == nil {
			err = s.do(&c)
		}
		if err != nil {
			w.failed = err
			return Manifest{}, err
		}
	}
	w.done = true
	w.close()
	return c.m, nil
}

// commit is the work of Commit.
type commit struct {
	*Writer
	m       Manifest
	records []byte
	files   []*os.File // written in this commit, closed at its end
}

// commitSteps are in the order that makes the rename the one instant at which
// the image begins to exist: all it needs is on the disk before.
var commitSteps = []struct {
	name string
	do   func(*commit) error
}{
	{"pages", (*commit).trimPages},
	{"records", (*commit).writeRecords},
	{"index", (*commit).writeIndex},
	{"manifest", (*commit).writeManifest}, // knows the sums of all above
	{"sync", (*commit).syncAll},           // the files' bytes and their names
	{"rename", (*commit).rename},          // the image exists
	{"seal", (*commit).syncDir},           // and will after a power cut
}

// faultBefore is the place where tests make a step of Commit fail.
func (w *Writer) faultBefore(step string) error {
	if w.fault == nil {
		return nil
	}
	return w.fault(step)
}

// trimPages waits for the last pages and cuts off the room at the end of their
// file that was not used.
func (c *commit) trimPages() error {
	if err := c.Flush(); err != nil {
		return err
	}
	used := c.next.Load()
	c.m.Parts.Pages = Part{Size: used}
	if used == c.size {
		return nil
	}
	return c.pages.Truncate(used)
}

// writeRecords writes the records file.
func (c *commit) writeRecords() (err error) {
	if len(c.records) > maxRecords {
		return fmt.Errorf("records of %d bytes, more than %d", len(c.records), maxRecords)
	}
	c.m.Parts.Records, err = c.writePart(recordsName, func(w io.Writer) error {
		_, err := w.Write(c.records)
		return err
	})
	return err
}

// writeIndex writes the index file.
func (c *commit) writeIndex() (err error) {
	if c.m.Summary.PageBytes, err = c.sortedExtents(); err != nil {
		return err
	}
	for _, e := range c.extents {
		if uint64(e.Layer) > uint64(len(c.m.Layers)) {
			return fmt.Errorf("%v: in layer %d, but the manifest has %d", e, e.Layer, len(c.m.Layers))
		}
	}
	c.m.Parts.Index, err = c.writePart(indexName, func(w io.Writer) error {
		return encodeIndex(w, c.extents)
	})
	return err
}

// writePart makes the file of this name with what write writes.
func (c *commit) writePart(name string, write func(io.Writer) error) (Part, error) {
	f, err := os.OpenFile(c.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return Part{}, err
	}
	c.files = append(c.files, f)
	sum := summer{Writer: f, hash: sha256.New()}
	err = write(&sum)
	return Part{Size: sum.size, SHA256: hex.EncodeToString(sum.hash.Sum(nil))}, err
}

// A summer counts and hashes what passes through it.
type summer struct {
	io.Writer
	hash hash.Hash
	size int64
}

func (s *summer) Write(b []byte) (int, error) {
	s.hash.Write(b)
	n, err := s.Writer.Write(b)
	s.size += int64(n)
	return n, err
}

// writeManifest writes the manifest under its temporary name.
func (c *commit) writeManifest() error {
	c.m.Format = Format
	if c.m.Created.IsZero() {
		c.m.Created = time.Now()
	}
	b, err := encodeManifest(&c.m)
	if err != nil {
		return err
	}
	_, err = c.manifest.Write(b)
	return err
}

// syncAll waits until all files, their names, and the name of the directory
// are on the disk. They go together, since one commit of the file system's
// journal may serve them all.
func (c *commit) syncAll() error {
	todo := append(c.files, c.pages.File, c.manifest, c.lock)
	if c.madeDir {
		parent, err := os.Open(filepath.Dir(c.dir))
		if err != nil {
			return err
		}
		defer parent.Close()
		todo = append(todo, parent)
	}
	errs := make([]error, len(todo))
	var wg sync.WaitGroup
	for i, f := range todo {
		wg.Go(func() { errs[i] = f.Sync() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// closeFiles closes the files of writePart. They are synced, or given up, so
// that no error can matter.
func (c *commit) closeFiles() {
	for _, f := range c.files {
		f.Close()
	}
}

// rename makes the image exist.
func (c *commit) rename() error {
	return os.Rename(c.path(manifestTemp), c.path(manifestName))
}

// syncDir makes the rename last. If it cannot, the image must not exist, as
// Commit is going to say.
func (c *commit) syncDir() error {
	err := c.lock.Sync()
	if err != nil {
		err = errors.Join(err, os.Rename(c.path(manifestName), c.path(manifestTemp)))
	}
	return err
}
