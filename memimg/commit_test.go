package memimg

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var errFault = errors.New("fault")

// unfinished makes a writer whose Commit fails before the step.
func unfinished(t *testing.T, dir, step string) *Writer {
	t.Helper()
	w := mustCreate(t, dir)
	w.fault = func(s string) error {
		if s == step {
			return errFault
		}
		return nil
	}
	mem := newMemory()
	mem.set(0, 3, 1)
	if err := w.WritePages([]Dump{{1, mem, mem.ranges()}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(testManifest(), []byte("some records")); !errors.Is(err, errFault) {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Commit(testManifest(), nil); err == nil {
		t.Fatal("committed after an error")
	}
	return w
}

// TestCrash stops a writer dead before each step of Commit: there is no
// snapshot before the rename, and a whole one after it.
func TestCrash(t *testing.T) {
	committed := false
	for _, s := range commitSteps {
		dir := filepath.Join(t.TempDir(), "image")
		w := unfinished(t, dir, s.name)
		if s.name == "seal" {
			committed = true
		}
		if Leftover(dir) || RemoveLeftover(dir) == nil {
			t.Errorf("%s: a live writer's files are left over", s.name)
		}
		w.close() // as a dead process does

		if IsSnapshot(dir) != committed {
			t.Errorf("%s: IsSnapshot is %v", s.name, !committed)
		}
		if Leftover(dir) == committed {
			t.Errorf("%s: Leftover is %v", s.name, committed)
		}
		if committed {
			if err := openAndVerify(dir); err != nil {
				t.Error(err)
			}
			continue
		}
		if _, err := Open(dir); !errors.Is(err, ErrUnfinished) {
			t.Errorf("%s: got %v", s.name, err)
		}
		if err := RemoveLeftover(dir); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", s.name, err)
		}
	}
	if !committed {
		t.Error("no step was after the rename")
	}
}

// TestAbort gives up before each step of Commit: nothing is left, but for a
// directory that was there before.
func TestAbort(t *testing.T) {
	for _, s := range commitSteps {
		there := t.TempDir()
		for _, dir := range []string{there, filepath.Join(t.TempDir(), "image")} {
			w := unfinished(t, dir, s.name)
			for range 2 {
				if err := w.Abort(); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			}
			names, err := os.ReadDir(dir)
			if dir != there && !errors.Is(err, os.ErrNotExist) || dir == there && err != nil || len(names) > 0 {
				t.Errorf("%s: left %v, %v", s.name, names, err)
			}
			if w.WritePages(nil, nil) == nil {
				t.Error("pages after Abort")
			}
		}
	}
}

func TestAbortAfterCommit(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir)
	mustCommit(t, w)
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := openAndVerify(dir); err != nil {
		t.Fatal(err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "no", "parent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no parent: got %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(file); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: got %v", err)
	}
	if _, err := Create(dir); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a directory with a file: got %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left %v", names)
	}
	image := filepath.Join(dir, "image")
	w := mustCreate(t, image)
	if _, err := Create(image); !errors.Is(err, ErrInUse) {
		t.Errorf("a live writer's: got %v", err)
	}
	mustCommit(t, w)
	if _, err := Create(image); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a snapshot: got %v", err)
	}
	if err := openAndVerify(image); err != nil {
		t.Error(err)
	}
}

// TestLeftover is about directories that are not one.
func TestLeftover(t *testing.T) {
	for _, names := range [][]string{
		{},
		{"index", "pages", "records"},
		{manifestTemp, "thesis.txt"},
		{manifestTemp, manifestName},
	} {
		dir := t.TempDir()
		for _, n := range names {
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if Leftover(dir) || RemoveLeftover(dir) == nil {
			t.Errorf("%v is a leftover", names)
		}
		if got, _ := os.ReadDir(dir); len(got) != len(names) {
			t.Errorf("of %v only %v is there", names, got)
		}
	}
	if Leftover(filepath.Join(t.TempDir(), "none")) {
		t.Error("nothing is a leftover")
	}
}

// TestModes checks that nobody else can read an image.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	smallImage(t, dir)
	check := func(path string, want os.FileMode) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	check(dir, 0o700)
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		check(filepath.Join(dir, n.Name()), 0o600)
		if !slices.Contains(imageFiles, n.Name()) {
			t.Errorf("%s is no file of an image", n.Name())
		}
	}
}

// TestDiskFull fills a disk at each of the files. The error has the path and
// ENOSPC, and earlier images are as they were.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		file           string
		pages, records int
	}{
		{pagesName, 1024, 0},
		{recordsName, 100, 1 << 20},
		{indexName, 224, 0},
	} {
		t.Run(c.file, func(t *testing.T) {
			disk := tmpfs(t, "1m")
			smallImage(t, filepath.Join(disk, "before"))
			dir := filepath.Join(disk, "image")
			w := mustCreate(t, dir)
			mem := newMemory()
			for i := range c.pages {
				mem.set(uint64(2*i)*PageSize, 1, 1)
			}
			err := w.WritePages([]Dump{{1, mem, mem.ranges()}}, nil)
			if err == nil {
				fillUp(t, disk, c.file == indexName)
				_, err = w.Commit(testManifest(), make([]byte, c.records))
			}
			if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, c.file)) {
				t.Errorf("got %v", err)
			}
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			if err := openAndVerify(filepath.Join(disk, "before")); err != nil {
				t.Error(err)
			}
		})
	}
}

// fillUp leaves no room on the disk, if asked to.
func fillUp(t *testing.T, disk string, fill bool) {
	t.Helper()
	if !fill {
		return
	}
	f, err := os.Create(filepath.Join(disk, "rest"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, PageSize))
	}
}

// TestZeroPagesNeedNoRoom dumps more zero pages than the disk has room for.
func TestZeroPagesNeedNoRoom(t *testing.T) {
	dir := filepath.Join(tmpfs(t, "1m"), "image")
	w := mustCreate(t, dir)
	mem := newMemory()
	mem.set(5<<20, 1, 1)
	if err := w.WritePages([]Dump{{1, mem, []Range{{0, 10 << 20}}}}, nil); err != nil {
		t.Fatal(err)
	}
	if m := mustCommit(t, w); m.Parts.Pages.Size != PageSize {
		t.Errorf("pages have %d bytes", m.Parts.Pages.Size)
	}
	if err := openAndVerify(dir); err != nil {
		t.Error(err)
	}
}
