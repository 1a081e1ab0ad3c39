package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// DirVariable is the environment variable that names the directory of jobs.
const DirVariable = "SUPERVISE_DIR"

const (
	dirPerm  = 0o700
	filePerm = 0o600
)

// JobsDir gives the directory that has a directory for each job: flag if it is
// not empty, else what $SUPERVISE_DIR names, else the first of these that this
// user can write to:
//
//   - /var/lib/supervise, for root;
//   - $XDG_STATE_HOME/supervise;
//   - ~/.local/state/supervise, if the home directory exists;
//   - /var/tmp/supervise-UID.
//
// The directory need not exist.
func JobsDir(flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv(DirVariable)
	}
	if flag != "" {
		return filepath.Abs(flag)
	}
	for _, dir := range stateDirs() {
		if canMake(dir) {
			return dir, nil
		}
	}
	dir := filepath.Join("/var/tmp", "supervise-"+strconv.Itoa(os.Geteuid()))
	if err := checkPrivate(dir); err != nil {
		return "", err
	}
	return dir, nil
}

// stateDirs lists the places for this user's state in order of preference.
func stateDirs() []string {
	var dirs []string
	if os.Geteuid() == 0 {
		dirs = append(dirs, "/var/lib/supervise")
	}
	if xdg := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(xdg) {
		dirs = append(dirs, filepath.Join(xdg, "supervise"))
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return dirs
	}
	if info, err := os.Stat(home); err == nil && info.IsDir() {
		dirs = append(dirs, filepath.Join(home, ".local/state/supervise"))
	}
	return dirs
}

// canMake reports whether dir can be written to, or be made.
func canMake(dir string) bool {
	for {
		err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}

// checkPrivate refuses a directory in a place where everybody can make one,
// unless it is missing or this user's alone.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	case !ok || int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s: belongs to another user", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s: others have access to it (mode %#o)", dir, info.Mode().Perm())
	}
	return nil
}

// makeDir makes the directory of jobs where it is missing.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	if filepath.Dir(dir) == "/var/tmp" {
		return checkPrivate(dir) // somebody else may have been quicker
	}
	return nil
}
