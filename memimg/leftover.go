package memimg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// fileNames are all names that a Writer uses, in the order in which removing
// them is safe at every instant: first the image ceases to exist, and last the
// mark goes by which the rest is known as ours.
var fileNames = []string{manifestName, pagesName, indexName, recordsName, manifestTemp}

// IsSnapshot reports whether dir holds a committed image. Whether it is sound
// only Open can tell.
func IsSnapshot(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, manifestName))
	return err == nil && info.Mode().IsRegular()
}

// Leftover reports whether dir holds what a Writer left that died before
// Commit: the mark of an unfinished image, no file of another name, and no lock
// of a live writer.
func Leftover(dir string) bool {
	lock, err := lockLeftover(dir)
	if err != nil {
		return false
	}
	lock.Close()
	return true
}

// RemoveLeftover removes the directory for which Leftover is true, and refuses
// any other.
func RemoveLeftover(dir string) error {
	lock, err := lockLeftover(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	return errors.Join(removeFiles(dir), os.Remove(dir))
}

// lockLeftover locks the directory of a dead writer, so that no new one can
// begin in it. It looks before it locks, too, and so stays out of the way of a
// writer that has made its directory but not locked it yet.
func lockLeftover(dir string) (*os.File, error) {
	if err := checkLeftover(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := checkLeftover(dir); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// checkLeftover refuses a directory whose files are not those of an unfinished
// image.
func checkLeftover(dir string) error {
	names, err := os.ReadDir(dir)
	if err == nil && !areLeftover(names) {
		err = fmt.Errorf("%s: not an unfinished image", dir)
	}
	return err
}

// areLeftover reports whether these are the files of an unfinished image.
func areLeftover(names []fs.DirEntry) bool {
	marked := false
	for _, n := range names {
		switch {
		case !n.Type().IsRegular(), n.Name() == manifestName, !slices.Contains(fileNames, n.Name()):
			return false
		case n.Name() == manifestTemp:
			marked = true
		}
	}
	return marked
}

// removeFiles removes the files of an image from dir, and no other.
func removeFiles(dir string) error {
	var errs []error
	for _, name := range fileNames {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
