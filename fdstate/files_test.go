package fdstate

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

func init() {
	subjects["files"] = func(dir string) {
		check(os.WriteFile(dir+"/plain", []byte("hello, world"), 0o644))
		open := func(name string, flags, num int) {
			put(must(unix.Open(name, flags, 0o644)), num, 0)
		}
		open(dir+"/plain", unix.O_RDONLY|unix.O_CLOEXEC, 10)
		must(unix.Seek(10, 7, unix.SEEK_SET))
		check(unix.Dup3(10, 13, unix.O_CLOEXEC)) // the same description twice
		open(dir+"/log", unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_EXCL, 11)
		must(unix.Write(11, []byte("line\n")))
		open(dir+"/trunc", unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NONBLOCK|unix.O_DSYNC, 12)
		must(unix.Write(12, []byte("kept")))
		open("/etc", unix.O_RDONLY|unix.O_DIRECTORY, 14)
		must(unix.ReadDirent(14, make([]byte, 1024)))
		open("/etc/passwd", unix.O_PATH, 15)
		check(os.Symlink("plain", dir+"/link"))
		open(dir+"/link", unix.O_PATH|unix.O_NOFOLLOW, 16)
		open("/proc/version", unix.O_RDONLY, 17)
		open("/proc/self/maps", unix.O_RDONLY, 18)
		for i, dev := range []string{"null", "zero", "full", "random", "urandom"} {
			open("/dev/"+dev, unix.O_RDWR, 20+i)
		}
		open(dir, unix.O_TMPFILE|unix.O_RDWR, 30)
		must(unix.Write(30, []byte("unlinked")))
		put(must(unix.MemfdCreate("m", 0)), 31, 0)
		must(unix.Write(31, []byte("memory")))
		put(must(unix.Open("/proc/self/fd/31", unix.O_RDONLY, 0)), 32, 0)
	}
}

func TestFiles(t *testing.T) {
	asUsers(t, "files", func(t *testing.T, snap *snapshot, b *restored) {
		pid := b.procs[0].PID
		if order := must(kcmpFile(pid, 10, pid, 13)); order != 0 {
			t.Error("fd 10 and 13 are not one description any more")
		}
		if order := must(kcmpFile(pid, 31, pid, 32)); order == 0 {
			t.Error("fd 31 and 32 are one description now")
		}
		for num, want := range map[int]string{30: "unlinked", 31: "memory", 32: "memory", 12: "kept"} {
			if got := string(must(os.ReadFile(fdPath(pid, num)))); got != want {
				t.Errorf("fd %d holds %q, not %q", num, got, want)
			}
		}
	})
}

// describeFD hides two things here that are known to change: an object of the
// tests is a memfd, and O_TMPFILE is not among its flags.
func init() {
	hidden = append(hidden, func(text string) string {
		if strings.Contains(text, "(deleted)") {
			return strings.Replace("object"+text[strings.IndexByte(text, '\n'):], "020300002", "0100002", 1)
		}
		return text
	})
}

func TestFilesChanged(t *testing.T) {
	s := startSubject(t, "files", 0)
	snap := s.capture(t)
	none := func(*restored) error { return nil }

	check(os.WriteFile(s.dir+"/log", []byte("line\nand more"), 0o644))
	if err := s.restore(t, snap, none); err != nil {
		t.Errorf("grown file: %v", err)
	}

	check(os.Truncate(s.dir+"/plain", 3))
	err := s.restore(t, snap, none)
	var shrunk *ShrunkError
	if !errors.As(err, &shrunk) || shrunk.Was != 12 || shrunk.Size != 3 || !strings.Contains(err.Error(), s.dir+"/plain") {
		t.Errorf("shorter file: %v", err)
	}

	check(os.Remove(s.dir + "/plain"))
	err = s.restore(t, snap, none)
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), s.dir+"/plain") {
		t.Errorf("missing file: %v", err)
	}

	check(unix.Mkfifo(s.dir+"/plain", 0o600)) // must not block
	var typ *TypeError
	if err = s.restore(t, snap, none); !errors.As(err, &typ) {
		t.Errorf("fifo in its place: %v", err)
	}
	if got := string(must(os.ReadFile(s.dir + "/trunc"))); got != "kept" {
		t.Errorf("restart truncated a file to %q", got)
	}
}

func init() {
	subjects["names"] = func(dir string) {
		for i, name := range []string{"renamed", "replaced", "hardlink", "moved away"} {
			path := filepath.Join(dir, name)
			check(os.WriteFile(path, nil, 0o644))
			put(must(unix.Open(path, unix.O_RDONLY, 0)), 10+i, 0)
		}
		check(os.Rename(dir+"/renamed", dir+"/new name"))
		check(os.Rename(dir+"/moved away", dir+"/replaced"))
		check(os.Link(dir+"/hardlink", dir+"/other"))
		check(os.Remove(dir + "/hardlink"))
		check(os.Mkdir(dir+"/d", 0o755))
		put(must(unix.Open(dir+"/d", unix.O_RDONLY, 0)), 14, 0)
		check(os.Remove(dir + "/d"))
		put(must(unix.Open("/proc/1/status", unix.O_RDONLY, 0)), 15, 0)
	}
}

// TestNames has a file that was renamed (fine), one whose name was replaced
// (now without a name: content saved), one that has another name, and a
// directory that is gone (made again).
func TestNames(t *testing.T) {
	snap := startSubject(t, "names", 0).capture(t)
	wantRefused(t, snap, map[string]string{
		"fd 15 ": "about a process outside the tree",
	})
}

// wantRefused compares what was refused with a list of beginnings of What and
// parts of Why.
func wantRefused(t *testing.T, snap *snapshot, want map[string]string) {
	t.Helper()
	for _, o := range snap.refused {
		found := false
		for what, why := range want {
			if strings.HasPrefix(o.What, what) && strings.Contains(o.Why, why) {
				delete(want, what)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("refused: %v", o)
		}
		if o.PID != int(snap.pids[0]) && len(snap.pids) == 1 || o.Comm == "" {
			t.Errorf("no owner: %+v", o)
		}
	}
	for what, why := range want {
		t.Errorf("not refused: %s%s", what, why)
	}
}

func TestGone(t *testing.T) {
	s := startSubject(t, "files", 0)
	err := task.OnThread(func() error {
		tree, err := task.Freeze([]task.PID{s.pid}, timeout)
		if err != nil {
			return err
		}
		defer tree.Thaw()
		check(unix.Kill(int(s.pid), unix.SIGKILL))
		for { // nobody may not even look any more
			if fds, err := procfs.FDs(int(s.pid)); len(fds) == 0 || err != nil {
				break
			}
			runtime.Gosched()
		}
		return (&snapshot{objects: &objects{}}).take2(tree)
	})
	if !errors.Is(err, task.ErrGone) {
		t.Errorf("killed while held: %v", err)
	}
}
