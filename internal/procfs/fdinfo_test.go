package procfs

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recordedFD parses a fdinfo file that testdata/record.py has copied.
func recordedFD(t *testing.T, name string) *FDInfo {
	t.Helper()
	info := must(parseFDInfo(recorded(t, "odd/fdinfo/"+name)))(t)
	return &info
}

func TestParseFDInfo(t *testing.T) {
	check(t, "regular", *recordedFD(t, "regular"), FDInfo{
		Pos: 77, Flags: unix.O_RDWR | unix.O_APPEND | unix.O_CLOEXEC | 0o100000, MntID: 27, Ino: 9978350, lines: 4,
	})
	pidfd := recordedFD(t, "pidfd")
	value, ok := pidfd.Value("NSpid")
	check(t, "NSpid", []any{value, ok}, []any{"5595", true})
	_, ok = pidfd.Value("sigmask")
	check(t, "no such key", ok, false)
	check(t, "rest", string(pidfd.Rest), "Pid:\t5595\nNSpid:\t5595\n")
}

func TestParseLocks(t *testing.T) {
	for name, want := range map[string][]Lock{
		"posix": {
			{Kind: "POSIX", Class: "ADVISORY", Type: "WRITE", PID: 5595, DevMajor: 0xfe, Ino: 9978352, Start: 10, End: 14},
			{Kind: "POSIX", Class: "ADVISORY", Type: "READ", PID: 5595, DevMajor: 0xfe, Ino: 9978352, Start: 100, End: EOF},
		},
		"ofd":     {{Kind: "OFDLCK", Class: "ADVISORY", Type: "WRITE", PID: -1, DevMajor: 0xfe, Ino: 9978353, Start: 1, End: 1}},
		"flock":   {{Kind: "FLOCK", Class: "ADVISORY", Type: "WRITE", PID: 5595, DevMajor: 0xfe, Ino: 9978354, End: EOF}},
		"lease":   {{Kind: "LEASE", Class: "ACTIVE", Type: "READ", PID: 5595, DevMajor: 0xfe, Ino: 9978355, End: EOF}},
		"regular": nil,
	} {
		check(t, name, recordedFD(t, name).Locks, want)
	}
}

func TestFDKinds(t *testing.T) {
	check(t, "eventfd", must(recordedFD(t, "eventfd").Eventfd())(t), Eventfd{Count: 1<<64 - 2, ID: 1, Semaphore: true})
	check(t, "eventfd-small", must(recordedFD(t, "eventfd-small").Eventfd())(t), Eventfd{Count: 11, ID: 2})
	check(t, "signalfd", must(recordedFD(t, "signalfd").SignalMask())(t), 1<<63|1<<9)
	check(t, "timerfd", must(recordedFD(t, "timerfd").Timerfd())(t), Timerfd{
		ClockID: 1, Value: unix.Timespec{Sec: 999999, Nsec: 995588047}, Interval: unix.Timespec{Sec: 5, Nsec: 6},
	})
	abs := must(recordedFD(t, "timerfd-abs").Timerfd())(t)
	check(t, "timerfd-abs", []any{abs.SettimeFlags, abs.Interval}, []any{3, unix.Timespec{Nsec: 1000}})
	check(t, "epoll", must(recordedFD(t, "epoll").Epoll())(t), []EpollTarget{
		{TFD: 24, Events: 0x4000001c, Data: 5, Ino: 0x1f83, Sdev: 9},
		{TFD: 17, Events: 0x19, Data: 9, Ino: 1038, Sdev: 0x10},
		{TFD: 23, Events: 0x80000019, Data: 1<<64 - 1, Ino: 0x1f82, Sdev: 9},
	})
	check(t, "epoll-empty", len(must(recordedFD(t, "epoll-empty").Epoll())(t)), 0)
	watches := must(recordedFD(t, "inotify").Inotify())(t)
	check(t, "inotify", watches[1], Inotify{
		WD: 1, Ino: 9978350, Sdev: 0xfe00000, Mask: 0xfff, HandleType: 1,
		Handle: []byte{0xee, 0x41, 0x98, 0, 0xd7, 0xc6, 3, 0xea},
	})
	major, minor := EpollTarget{Sdev: watches[1].Sdev}.Dev()
	check(t, "sdev", []uint32{major, minor}, []uint32{0xfe, 0})
}

func TestFDInfoMalformed(t *testing.T) {
	const head = "pos:\t0\nflags:\t02\nmnt_id:\t1\nino:\t2\n"
	for _, bad := range []string{
		"", "pos:\t0\n", strings.Replace(head, "02", "2", 1), strings.Replace(head, "02", "09", 1),
		head + "lock:\t1: POSIX  ADVISORY  WRITE 1 fe:00:1 0\n",
		head + "lock:\t1: POSIX\n", head + "lock:\tx\n",
	} {
		if info, err := parseFDInfo([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, info)
		}
	}
	for _, rest := range []string{
		"x\n", "eventfd-count: 1\n", "sigmask:\t\n", "inotify wd:\n", "tfd: 1\n",
		"inotify wd:1 ino:1 sdev:1 mask:1 ignored_mask:0 fhandle-bytes:ffffffff fhandle-type:1 f_handle:00\n",
		"fanotify flags:0\n", "fanotify flags:0 event-flags:0\nfanotify mnt_ns:1 mflags:0 mask:1 ignored_mask:0\n",
		"fanotify flags:0 event-flags:0\nfanotify sdev:1 mflags:0 mask:1 ignored_mask:0 fhandle-bytes:1 fhandle-type:1 f_handle:00\n",
	} {
		info := must(parseFDInfo([]byte(head + rest)))(t)
		if kinds := decoded(&info); len(kinds) > 0 {
			t.Errorf("%q decoded as %v", rest, kinds)
		}
	}
}

// TestFanotify takes a group with marks of every kind, as Linux 6.18 shows it.
func TestFanotify(t *testing.T) {
	const text = "pos:\t0\nflags:\t02004002\nmnt_id:\t17\nino:\t20\nfanotify flags:17 event-flags:88000\n" +
		"fanotify sdev:1b mflags:440 mask:10000 ignored_mask:40000002\nfanotify mnt_id:1e mflags:0 mask:8 ignored_mask:0\n" +
		"fanotify ino:98b88c sdev:fe00000 mflags:200 mask:2 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:8cb898003dc287d2\n"
	info := must(parseFDInfo([]byte(text)))(t)
	check(t, "group", must(info.Fanotify())(t), Fanotify{Flags: 0x17, EventFlags: 0x88000, Marks: []FanotifyMark{
		{On: OnFilesystem, Sdev: 0x1b, Flags: 0x440, Mask: 0x10000, Ignored: 0x40000002},
		{On: OnMount, Mount: 0x1e, Mask: 8},
		{
			Ino: 0x98b88c, Sdev: 0xfe00000, Flags: 0x200, Mask: 2, HandleType: 1,
			Handle: []byte{0x8c, 0xb8, 0x98, 0, 0x3d, 0xc2, 0x87, 0xd2},
		},
	}})
}

// decoded returns the names of the kinds whose decoder accepts info.
func decoded(info *FDInfo) (kinds []string) {
	_, err1 := info.Eventfd()
	_, err2 := info.SignalMask()
	_, err3 := info.Timerfd()
	_, err4 := info.Epoll()
	_, err5 := info.Inotify()
	_, err6 := info.Fanotify()
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err == nil {
			kinds = append(kinds, []string{"eventfd", "signalfd", "timerfd", "epoll", "inotify", "fanotify"}[i])
		}
	}
	return kinds
}

// TestReadFDInfoError wants the path and the line in the error of a decoder.
func TestReadFDInfoError(t *testing.T) {
	fd := must(unix.Eventfd(3, unix.EFD_CLOEXEC))(t)
	defer unix.Close(fd)
	info := must(ReadFDInfo(os.Getpid(), fd))(t)
	check(t, "eventfd", must(info.Eventfd())(t).Count, 3)
	_, err := info.Timerfd()
	var pe *ParseError
	if !errors.As(err, &pe) || pe.File != pidPath(os.Getpid(), "fdinfo/")+itoa(fd) || pe.Line != 5 {
		t.Errorf("error %v", err)
	}
	if _, err := ReadFDInfo(os.Getpid(), 1<<20); !Gone(err) {
		t.Errorf("closed descriptor: %v", err)
	}
}
