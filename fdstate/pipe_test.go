package fdstate

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	subjects["pipes"] = func(dir string) {
		pair := func(r, w, flags int) {
			var p [2]int
			check(unix.Pipe2(p[:], flags))
			put(p[0], r, 0)
			put(p[1], w, 0)
		}
		pair(10, 11, unix.O_NONBLOCK)
		must(unix.FcntlInt(10, unix.F_SETPIPE_SZ, 1<<20))
		must(unix.Write(11, bytes.Repeat([]byte("0123456789abcdef"), 1<<16))) // full
		put(must(unix.Open("/proc/self/fd/10", unix.O_RDONLY|unix.O_NONBLOCK, 0)), 12, 0)

		pair(20, 21, 0)
		must(unix.Write(21, []byte("last words")))
		check(unix.Close(21))
		pair(30, 31, unix.O_NONBLOCK)
		check(unix.Close(30))

		pair(40, 41, unix.O_DIRECT)
		for _, packet := range []string{"one", "two", "three"} {
			must(unix.Write(41, []byte(packet)))
		}

		check(unix.Mkfifo(dir+"/fifo", 0o600))
		put(must(unix.Open(dir+"/fifo", unix.O_RDWR, 0)), 50, 0)
		put(must(unix.Open(dir+"/fifo", unix.O_RDONLY, 0)), 51, 0)
		put(must(unix.Open(dir+"/fifo", unix.O_WRONLY, 0)), 52, 0)
		must(unix.Write(52, []byte("by name")))
		check(unix.Mkfifo(dir+"/waiting", 0o600))
		put(must(unix.Open(dir+"/waiting", unix.O_RDONLY|unix.O_NONBLOCK, 0)), 53, 0)
		check(unix.Mkfifo(dir+"/left", 0o600))
		put(must(unix.Open(dir+"/left", unix.O_RDONLY|unix.O_NONBLOCK, 0)), 54, 0)
		check(unix.Close(must(unix.Open(dir+"/left", unix.O_WRONLY, 0))))

		pair(60, 61, 0)
		spawn(60, 11, 2)
		check(unix.Close(60))
	}
}

func TestPipes(t *testing.T) {
	for _, uid := range []int{0, nobody} {
		s := startSubject(t, "pipes", uid)
		snap := s.capture(t)
		if len(snap.refused) > 0 {
			t.Fatalf("refused: %v", snap.refused)
		}
		err := s.restore(t, snap, func(*restored) error { return nil })
		if err == nil || !strings.Contains(err.Error(), s.dir+"/fifo (pipe or fifo): another program uses it") {
			t.Errorf("while the subject has the fifo: %v", err)
		}
		killAll(snap.pids...)
		if err := s.restore(t, snap, func(b *restored) error { comparePipes(t, snap, b); return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

func comparePipes(t *testing.T, snap *snapshot, b *restored) {
	t.Helper()
	for i, p := range b.procs {
		compareTables(t, snap.tables[i], describeTable(p.PID), i)
	}
	if order := must(kcmpFile(b.procs[1].PID, 1, b.procs[0].PID, 11)); order != 0 {
		t.Error("the child's fd 1 is not its parent's fd 11 any more")
	}
	for num, want := range map[int]int16{
		10: unix.POLLIN, 11: 0, 12: unix.POLLIN, 20: unix.POLLIN | unix.POLLHUP, 31: unix.POLLOUT | unix.POLLERR,
		53: 0, 54: unix.POLLHUP, 61: unix.POLLOUT,
	} {
		if got := b.poll(num); got != want {
			t.Errorf("fd %d polls %#x, not %#x", num, got, want)
		}
	}
	if got := b.read(12); len(got) != 1<<20 || !strings.HasPrefix(got, "0123456789abcdef") {
		t.Errorf("full pipe: %d bytes", len(got))
	}
	for i, want := range []string{"one", "two", "three"} {
		if got := b.read(40); got != want {
			t.Errorf("packet %d is %q, not %q", i, got, want)
		}
	}
	for num, want := range map[int]string{20: "last words", 51: "by name"} {
		if got := b.read(num); got != want {
			t.Errorf("fd %d has %q, not %q", num, got, want)
		}
	}
}

// read reads what is in a pipe of the first process.
func (b *restored) read(num int) string {
	fd := must((&Opener{Proc: b.procs[0]}).Copy(num))
	defer unix.Close(fd)
	buf := make([]byte, 2<<20)
	return string(buf[:must(unix.Read(fd, buf))])
}

// poll tells what is ready on a descriptor of the first process.
func (b *restored) poll(num int) int16 {
	fd := must((&Opener{Proc: b.procs[0]}).Copy(num))
	defer unix.Close(fd)
	return must(Poll(fd, unix.POLLIN|unix.POLLOUT))
}

func init() {
	subjects["outside"] = func(dir string) {
		check(unix.Dup3(1, 10, 0))
		put(must(unix.Open("/proc/self/fd/1", unix.O_WRONLY|unix.O_NONBLOCK, 0)), 11, 0)
		check(unix.Dup3(1, 2, 0))
	}
	subjects["led in"] = func(dir string) {}
}

// TestOutside has a stdout that leads out, as 1, 2 and 10, and as another
// description.
func TestOutside(t *testing.T) {
	s := startSubject(t, "outside", 0)
	snap := s.capture(t)
	if len(snap.refused) > 0 {
		t.Fatalf("refused: %v", snap.refused)
	}
	err := s.restore(t, snap, func(b *restored) error {
		pid := b.procs[0].PID
		for _, num := range []int{1, 2, 10, 11} { // the tests' builder has /dev/null as its stdout
			if link := must(os.Readlink(fdPath(pid, num))); (num != 2) != (link == "/dev/null") {
				t.Errorf("fd %d is %s", num, link)
			}
		}
		if order := must(kcmpFile(pid, 1, pid, 10)); order != 0 {
			t.Error("fd 1 and 10 are not one description any more")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignPipe has a pipe from outside at another number.
func TestForeignPipe(t *testing.T) {
	r, w, err := os.Pipe()
	check(err)
	defer w.Close()
	s := startWith(t, "led in", 0, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{r} })
	r.Close()
	snap := s.capture(t)
	if len(snap.refused) != 1 || !strings.HasPrefix(snap.refused[0].What, "fd 3 (pipe:[") || snap.refused[0].Hint == "" {
		t.Errorf("refused: %v", snap.refused)
	}
}

func TestOutsidePick(t *testing.T) {
	for _, c := range []struct {
		std       []int
		num, want int
	}{
		{[]int{0, 1, 2}, 0, 0}, {[]int{0, 1, 2}, 2, 2}, {[]int{0, 1, 2}, 255, 1}, {[]int{1}, 2, 1}, {[]int{0}, 1, 0}, {[]int{2}, 7, 2},
	} {
		if got := (&Outside{Std: c.std}).pick(c.num); got != c.want {
			t.Errorf("fd %d of %v becomes %d, not %d", c.num, c.std, got, c.want)
		}
	}
}
