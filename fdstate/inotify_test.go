package fdstate

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	subjects["inotify"] = func(dir string) {
		in := must(unix.InotifyInit1(unix.IN_NONBLOCK))
		put(in, 10, 0)
		check(os.MkdirAll(dir+"/a/b/c", 0o777))
		check(os.WriteFile(dir+"/gone", nil, 0o600))
		put(must(unix.Open(dir+"/gone", unix.O_RDWR, 0)), 11, 0)
		for _, name := range []string{"/a", "/gone", "/a/b/c", "/a/b"} {
			must(unix.InotifyAddWatch(10, dir+name, unix.IN_CREATE|unix.IN_MODIFY))
		}
		check(os.Remove(dir + "/gone"))
		must(unix.InotifyRmWatch(10, 1))
		must(unix.Read(10, make([]byte, 64))) // IN_IGNORED
		check(os.Chdir(dir))
	}
	subjects["inotify pending"] = func(dir string) {
		must(unix.InotifyAddWatch(must(unix.InotifyInit1(0)), dir, unix.IN_CREATE))
		check(os.Mkdir(dir+"/x", 0o777))
	}
}

// TestInotifyNames wants each watched file found, with a name or without one,
// and unread events refused as long as they may be read. That the watches come
// back is seen in integration.
func TestInotifyNames(t *testing.T) {
	for _, uid := range []int{0, nobody} {
		s := startSubject(t, "inotify", uid)
		snap := s.capture(t)
		if len(snap.refused) > 0 {
			t.Fatalf("refused: %v", snap.refused)
		}
		records := must(snap.state.Records(Kinds))
		rec := records[snap.tableOf(0).mustFind(10)].(*Inotify)
		var got []string
		for i, w := range rec.Watches {
			if w.WD != i+2 || w.Mask != unix.IN_CREATE|unix.IN_MODIFY {
				t.Errorf("watch %+v", w)
			}
			got = append(got, strings.TrimPrefix(w.File.Path, s.dir))
		}
		if want := "/fd/11 /a/b/c /a/b"; !strings.HasSuffix(strings.Join(got, " "), want) || !rec.Watches[0].File.Follow {
			t.Errorf("names %q, want %s", got, want)
		}
	}
	snap := startSubject(t, "inotify pending", 0).capture(t)
	if len(snap.refused) != 1 || !snap.refused[0].Passing || !strings.Contains(snap.refused[0].Why, "events wait") {
		t.Errorf("refused: %v", snap.refused)
	}
}

// TestOverflow wants nothing but IN_Q_OVERFLOW in a queue, and watches that
// work as ever.
func TestOverflow(t *testing.T) {
	in := must(unix.InotifyInit1(unix.IN_NONBLOCK))
	defer unix.Close(in)
	check(overflowInotify(in))
	dir := t.TempDir()
	wd := must(unix.InotifyAddWatch(in, dir, unix.IN_CREATE))
	check(os.Mkdir(dir+"/x", 0o777))
	buf := make([]byte, 4096)
	n := must(unix.Read(in, buf))
	first := unix.InotifyEvent{Wd: -1, Mask: unix.IN_Q_OVERFLOW}
	second := unix.InotifyEvent{Wd: int32(wd), Mask: unix.IN_CREATE | unix.IN_ISDIR, Len: 16}
	want := []byte{}
	for _, ev := range []unix.InotifyEvent{first, second} {
		want = must(binary.Append(want, binary.NativeEndian, ev))
	}
	want = append(want, append([]byte("x"), make([]byte, 15)...)...)
	if !bytes.Equal(buf[:n], want) {
		t.Errorf("queue %x, want %x", buf[:n], want)
	}
}
