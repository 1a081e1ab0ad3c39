package memimg

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imageFiles are the files of a committed image.
var imageFiles = []string{manifestName, recordsName, indexName, pagesName}

// smallImage makes an image of two pages, in two extents, in dir.
func smallImage(t *testing.T, dir string) {
	t.Helper()
	mem := newMemory()
	mem.set(0x10000, 1, 1)
	mem.set(0x7f0000000000, 1, 2)
	w := mustCreate(t, dir)
	if err := w.WritePages([]Dump{{3, mem, mem.ranges()}}, nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w)
}

// openAndVerify is the first error that a careful user meets.
func openAndVerify(dir string) error {
	im, err := Open(dir)
	if err != nil {
		return err
	}
	defer im.Close()
	return im.Verify(nil)
}

// isDamage checks that err is a FormatError that names the file.
func isDamage(err error, name string) bool {
	var format *FormatError
	return errors.As(err, &format) && filepath.Base(format.File) == name &&
		strings.Contains(err.Error(), name) && errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat)
}

// TestBitFlips flips every single bit of an image; with -short, one in seven.
func TestBitFlips(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, name := range imageFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(quickDir(t), "image")
			smallImage(t, dir)
			flipBits(t, dir, name, step)
		})
	}
}

// flipBits flips the bits of one file, one at a time.
func flipBits(t *testing.T, dir, name string, step int) {
	path := filepath.Join(dir, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for bit := 0; bit < len(whole)*8; bit += step {
		at := bit / 8
		f.WriteAt([]byte{whole[at] ^ 1<<(bit%8)}, int64(at))
		if err := openAndVerify(dir); !isDamage(err, name) {
			t.Fatalf("bit %d of byte %d flipped: got %v", bit%8, at, err)
		}
		f.WriteAt(whole[at:at+1], int64(at))
	}
	if err := openAndVerify(dir); err != nil {
		t.Fatal(err)
	}
}

// TestTruncation cuts every file at every length, makes it longer, and removes
// it.
func TestTruncation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(quickDir(t), "image")
	smallImage(t, dir)
	for _, name := range imageFiles {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(whole) {
			os.WriteFile(path, whole[:n], filePerm)
			if err := openAndVerify(dir); !isDamage(err, name) {
				t.Fatalf("%s: cut to %d bytes: got %v", name, n, err)
			}
		}
		for _, more := range []string{"\x00", "\n", " ", strings.Repeat("\x00", PageSize)} {
			os.WriteFile(path, append(bytes.Clone(whole), more...), filePerm)
			if err := openAndVerify(dir); !isDamage(err, name) {
				t.Fatalf("%s: followed by %q: got %v", name, more, err)
			}
		}
		os.Remove(path)
		err = openAndVerify(dir)
		switch {
		case name == manifestName && errors.Is(err, ErrUnfinished) && errors.Is(err, os.ErrNotExist):
		case name != manifestName && isDamage(err, name) && errors.Is(err, os.ErrNotExist):
		default:
			t.Fatalf("%s removed: got %v", name, err)
		}
		os.WriteFile(path, whole, filePerm)
	}
	if err := openAndVerify(dir); err != nil {
		t.Fatal(err)
	}
}

// TestChangeWhileOpen damages pages that an open image is to read: no sink
// sees one of them.
func TestChangeWhileOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	smallImage(t, dir)
	im := mustOpen(t, dir)
	defer im.Close()
	pages := filepath.Join(dir, pagesName)
	for _, change := range []func() error{
		func() error { return os.WriteFile(pages, make([]byte, 2*PageSize), filePerm) },
		func() error { return os.Truncate(pages, PageSize) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		got := newMemory()
		if err := im.ReadPages([]Fill{{3, got}}, nil); !isDamage(err, pagesName) || len(got.pages) != 0 {
			t.Errorf("got %v and %d pages", err, len(got.pages))
		}
	}
}

// TestNoImage opens what was never an image.
func TestNoImage(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrUnfinished) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty directory: got %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); errors.Is(err, ErrUnfinished) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, manifestName), dirPerm); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !isDamage(err, manifestName) {
		t.Errorf("manifest is a directory: got %v", err)
	}
}

func TestFormatErrorText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	smallImage(t, dir)
	pages := filepath.Join(dir, pagesName)
	f, err := os.OpenFile(pages, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("damage"), PageSize+7)
	f.Close()
	want := pages + ": extent of space 3 at 0x7f0000000000: checksum mismatch at offset 0x1000"
	if err := openAndVerify(dir); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}
