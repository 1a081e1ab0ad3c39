package memimg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	smallImage(t, dir)
	if n, err := DiskUsage(dir); err != nil || n < 2*PageSize {
		t.Errorf("disk usage %d, %v", n, err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// TestRemoveRefuses: what is no image, not only an image, or in use, stays.
func TestRemoveRefuses(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "image")
	smallImage(t, dir)
	stranger := filepath.Join(dir, "notes")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err == nil || !strings.Contains(err.Error(), "notes") {
		t.Errorf("a directory with a file of somebody else's: %v", err)
	}
	os.Remove(stranger)
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a locked image: %v", err)
	}
	lock.Close()
	if err := openAndVerify(dir); err != nil {
		t.Errorf("the image has suffered: %v", err)
	}
	empty := filepath.Join(parent, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Remove(empty); !errors.Is(err, ErrUnfinished) {
		t.Errorf("an empty directory: %v", err)
	}
}

// TestRemoveDies: whenever a remover dies, what it leaves is no image, and is
// known as a leftover.
func TestRemoveDies(t *testing.T) {
	for n := range fileNames {
		dir := filepath.Join(t.TempDir(), "image")
		smallImage(t, dir)
		lock, err := lockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := unseal(lock, dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range fileNames[:n] {
			os.Remove(filepath.Join(dir, name))
		}
		lock.Close()
		if _, err := Open(dir); !errors.Is(err, ErrUnfinished) || IsSnapshot(dir) {
			t.Errorf("after %d files: %v", n, err)
		}
		if !Leftover(dir) {
			t.Errorf("after %d files: not known as a leftover", n)
		}
		if err := RemoveLeftover(dir); err != nil {
			t.Errorf("after %d files: %v", n, err)
		}
	}
}
