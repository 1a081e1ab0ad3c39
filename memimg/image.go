package memimg

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"golang.org/x/sys/unix"
)

// An Image is a committed image, open for reading.
type Image struct {
	dir      string
	manifest Manifest
	records  []byte
	extents  []Extent     // in the order of the index
	pages    []*pagesFile // of each layer, this image's own first
}

// ReadManifest reads the manifest of the image in dir, which is sound when it
// returns no error; the other files are not looked at.
func ReadManifest(dir string) (Manifest, error) {
	name := filepath.Join(dir, manifestName)
	f, size, err := openPart(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, direrr := os.Stat(dir); direrr != nil {
			return Manifest{}, direrr
		}
		return Manifest{}, fmt.Errorf("%s: %w: %w", dir, ErrUnfinished, err)
	}
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	if size > maxManifest {
		return Manifest{}, &FormatError{File: name, Offset: maxManifest, Msg: "too long"}
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return Manifest{}, readError(name, 0, "manifest", err)
	}
	return decodeManifest(b, name)
}

// Open opens the image in dir and all layers it needs. Everything but the page
// data is read and verified, and the page data is all there; it is verified
// when it is read.
//
// The error is a *FormatError for an image that is damaged, a *VersionError for
// one of a newer format, and ErrUnfinished for a directory without a manifest.
func Open(dir string) (*Image, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	im := &Image{dir: dir, manifest: m}
	if err := im.load(); err != nil {
		im.Close()
		return nil, err
	}
	return im, nil
}

// load reads all but the manifest.
func (im *Image) load() (err error) {
	parts := im.manifest.Parts
	err = readPart(im.path(recordsName), parts.Records, func(r io.Reader, _ string) (err error) {
		im.records = make([]byte, parts.Records.Size)
		_, err = io.ReadFull(r, im.records)
		return err
	})
	if err != nil {
		return err
	}
	err = readPart(im.path(indexName), parts.Index, func(r io.Reader, name string) (err error) {
		im.extents, err = decodeIndex(r, parts.Index.Size, len(im.manifest.Layers), name)
		return err
	})
	if err != nil {
		return err
	}
	if err := im.openPages(im.dir, parts.Pages.Size); err != nil {
		return err
	}
	for i, l := range im.manifest.Layers {
		if err := im.openLayer(i, l); err != nil {
			return err
		}
	}
	return im.checkPlaces()
}

// openPages opens the pages file of the image in dir as the next layer.
func (im *Image) openPages(dir string, size int64) error {
	p, err := openPages(filepath.Join(dir, pagesName), size)
	if err != nil {
		return err
	}
	im.pages = append(im.pages, p)
	return nil
}

// openLayer opens the pages of an earlier image, which must be the very one
// that this image was made upon.
func (im *Image) openLayer(i int, l Layer) error {
	bad := func(msg string, err error) error {
		return &FormatError{File: im.path(manifestName), Offset: -1, Field: fmt.Sprintf("layers[%d]", i), Msg: msg, Err: err}
	}
	dir := im.path(l.Dir)
	m, err := ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return bad("is missing", err)
	}
	if err != nil {
		return err
	}
	if m.ID != l.ID {
		return bad(fmt.Sprintf("is another image: %s has id %s, not %s", dir, m.ID, l.ID), nil)
	}
	return im.openPages(dir, m.Parts.Pages.Size)
}

// checkPlaces checks that every extent lies within its pages file, and that
// every page of this image's own belongs to exactly one.
func (im *Image) checkPlaces() error {
	own := make([]uint64, (im.pages[0].size/PageSize+63)/64) // a bit for each page
	var count int64
	for i, e := range im.extents {
		bad := func(msg string) error {
			return &FormatError{File: im.path(indexName), Offset: indexSize(i), Field: e.String(), Msg: msg}
		}
		if e.fileEnd() > uint64(im.pages[e.Layer].size) {
			return bad(fmt.Sprintf("reaches beyond the end of %s", im.pages[e.Layer].name))
		}
		if e.Layer > 0 {
			continue
		}
		for p := e.Offset / PageSize; p < e.fileEnd()/PageSize; p++ {
			if own[p/64]&(1<<(p%64)) != 0 {
				return bad("shares pages of the file with another extent")
			}
			own[p/64] |= 1 << (p % 64)
		}
		count += int64(e.Bytes())
	}
	if count != im.pages[0].size {
		return &FormatError{File: im.path(indexName), Offset: -1,
			Msg: fmt.Sprintf("leaves %d bytes of the pages file uncovered", im.pages[0].size-count)}
	}
	return nil
}

// path is that of the file with this name in the image.
func (im *Image) path(name string) string { return filepath.Join(im.dir, name) }

// Dir is the directory of the image.
func (im *Image) Dir() string { return im.dir }

// Manifest returns the manifest. Its slices are not to be changed.
func (im *Image) Manifest() Manifest { return im.manifest }

// Records returns the records, which are not to be changed.
func (im *Image) Records() []byte { return im.records }

// Spaces returns the numbers of all spaces that have pages, in order.
func (im *Image) Spaces() []uint32 {
	var spaces []uint32
	for rest := im.extents; len(rest) > 0; rest = rest[len(im.Extents(rest[0].Space)):] {
		spaces = append(spaces, rest[0].Space)
	}
	return spaces
}

// Extents returns the extents of a space in order of their addresses. They are
// not to be changed.
func (im *Image) Extents(space uint32) []Extent {
	n := len(im.extents)
	lo := sort.Search(n, func(i int) bool { return im.extents[i].Space >= space })
	hi := sort.Search(n, func(i int) bool { return im.extents[i].Space > space })
	return slices.Clip(im.extents[lo:hi])
}

// Close closes the files of the image.
func (im *Image) Close() error {
	var errs []error
	for _, p := range im.pages {
		errs = append(errs, p.close())
	}
	im.pages = nil
	return errors.Join(errs...)
}

// openPart opens a file of an image. What is no regular file is refused, and
// does not block.
func openPart(name string) (f *os.File, size int64, err error) {
	f, err = os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &FormatError{File: name, Offset: -1, Msg: "not a regular file"}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// missing makes damage of it that a file of a committed image is not there.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &FormatError{File: name, Offset: -1, Msg: "is missing", Err: err}
	}
	return err
}

// wrongSize says that a file does not have the size that its manifest gives.
func wrongSize(name string, size, want int64) error {
	what := "cut short"
	if size > want {
		what = "bytes left over"
	}
	return &FormatError{File: name, Offset: min(size, want),
		Msg: fmt.Sprintf("%s (%d bytes, not %d)", what, size, want)}
}

// readPart gives the bytes of a file to decode, and checks size and sum. What
// decode finds wrong is believed only if the sum is right.
func readPart(name string, p Part, decode func(r io.Reader, name string) error) error {
	f, size, err := openPart(name)
	if err != nil {
		return missing(name, err)
	}
	defer f.Close()
	if size != p.Size {
		return wrongSize(name, size, p.Size)
	}
	sum := sha256.New()
	decodeErr := decode(io.TeeReader(f, sum), name)
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	want, err := hex.DecodeString(p.SHA256)
	if err != nil || !bytes.Equal(sum.Sum(nil), want) {
		return &FormatError{File: name, Offset: -1, Msg: "checksum mismatch", Err: decodeErr}
	}
	return decodeErr
}
