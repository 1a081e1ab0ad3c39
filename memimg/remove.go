package memimg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Remove removes the committed image in dir. It refuses a directory that holds
// anything else, and fails with ErrInUse while a writer or another remover is at
// work there. Later images that have this one as a layer are the caller's care.
//
// The first step takes the manifest's name away, so that whatever a crash
// leaves is never taken for an image, but for a leftover.
func Remove(dir string) error {
	if err := checkRemovable(dir); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := checkRemovable(dir); err != nil {
		return err
	}
	if err := unseal(lock, dir); err != nil {
		return err
	}
	return errors.Join(removeFiles(dir), os.Remove(dir))
}

// unseal makes a leftover of an image. After a power cut, too, the image is gone
// before any of its data is.
func unseal(lock *os.File, dir string) error {
	if err := os.Rename(filepath.Join(dir, manifestName), filepath.Join(dir, manifestTemp)); err != nil {
		return err
	}
	return lock.Sync()
}

// checkRemovable refuses a directory that is no image, or has other files.
func checkRemovable(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !n.Type().IsRegular() || !slices.Contains(fileNames, n.Name()) {
			return fmt.Errorf("%s: not removed, since it holds %s, which is no part of an image", dir, n.Name())
		}
	}
	if !IsSnapshot(dir) {
		return fmt.Errorf("%s: %w: %w", dir, ErrUnfinished, fs.ErrNotExist)
	}
	return nil
}

// DiskUsage is how many bytes the files of the image in dir take on the disk.
func DiskUsage(dir string) (int64, error) {
	var sum int64
	for _, name := range fileNames {
		info, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		const block = 512 // man 3 stat
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * block
		}
	}
	return sum, nil
}
