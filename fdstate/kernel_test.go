package fdstate

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

func init() {
	subjects["kernel"] = func(dir string) {
		put(must(unix.Eventfd(7, unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK)), 10, unix.O_CLOEXEC)
		put(must(unix.Eventfd(0, 0)), 11, 0)
		big := []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		must(unix.Write(11, big))
		var set unix.Sigset_t
		set.Val[0] = 1<<9 | 1<<11 | 1<<40
		put(must(unix.Signalfd(-1, &set, unix.SFD_NONBLOCK)), 12, 0)

		timer := func(num, clock, flags int, value, interval time.Duration) {
			put(must(unix.TimerfdCreate(clock, unix.TFD_NONBLOCK)), num, 0)
			spec := unix.ItimerSpec{Value: unix.NsecToTimespec(value.Nanoseconds()), Interval: unix.NsecToTimespec(interval.Nanoseconds())}
			if flags&unix.TFD_TIMER_ABSTIME != 0 && value != 0 {
				var now unix.Timespec
				check(unix.ClockGettime(int32(clock), &now))
				spec.Value = unix.NsecToTimespec(now.Nano() + value.Nanoseconds())
			}
			check(unix.TimerfdSettime(num, flags, &spec, nil))
		}
		timer(20, unix.CLOCK_MONOTONIC, 0, time.Hour, time.Minute)
		timer(21, unix.CLOCK_REALTIME, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, time.Hour, 0)
		timer(22, unix.CLOCK_MONOTONIC, 0, 0, 0)
		timer(23, unix.CLOCK_BOOTTIME, unix.TFD_TIMER_ABSTIME, time.Millisecond, 0)
		timer(24, unix.CLOCK_MONOTONIC, 0, time.Millisecond, time.Hour)
		timer(25, unix.CLOCK_MONOTONIC, unix.TFD_TIMER_ABSTIME, time.Millisecond, time.Hour)
		time.Sleep(5 * time.Millisecond)

		put(must(unix.EpollCreate1(0)), 30, unix.O_CLOEXEC)
		put(must(unix.EpollCreate1(0)), 31, 0)
		add := func(epfd, fd int, events uint32, data int32) {
			check(unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: data, Pad: -data}))
		}
		add(30, 10, unix.EPOLLIN|unix.EPOLLET, 1)
		add(30, 11, unix.EPOLLOUT|unix.EPOLLONESHOT, 2)
		add(30, 20, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 3)
		add(31, 30, unix.EPOLLIN, 4)
		check(unix.Dup3(11, 13, 0))
		add(30, 13, unix.EPOLLIN, 5) // the same description, added as another number
	}
}

func TestKernelObjects(t *testing.T) {
	asUsers(t, "kernel", func(t *testing.T, snap *snapshot, b *restored) {
		was, now := int(snap.pids[0]), int(b.procs[0].PID)
		for num := 20; num <= 25; num++ {
			before, after := timerOf(t, was, num), timerOf(t, now, num)
			if num == 24 { // expired and not read: the kernel prints 0
				before.Value = before.Interval
			}
			diff := before.Value.Nano() - after.Value.Nano()
			if max(diff, -diff) > int64(10*time.Second) || (before.Value.Nano() == 0) != (after.Value.Nano() == 0) {
				t.Errorf("timerfd %d: %v left, was %v", num, after.Value, before.Value)
			}
		}
		// All but the sleeping are ready: the nested one says so.
		fd := must((&Opener{Proc: b.procs[0]}).Copy(31))
		defer unix.Close(fd)
		events := make([]unix.EpollEvent, 8)
		if n, err := unix.EpollWait(fd, events, 0); n != 1 || events[0].Fd != 4 || events[0].Pad != -4 {
			t.Errorf("nested epoll: %d events %v, %v", n, events[0], err)
		}
	})
}

func timerOf(t *testing.T, pid, num int) procfs.Timerfd {
	t.Helper()
	info := must(procfs.ReadFDInfo(pid, num))
	return must(info.Timerfd())
}

func init() {
	subjects["stale epoll"] = func(dir string) {
		put(must(unix.EpollCreate1(0)), 10, 0)
		put(must(unix.Eventfd(0, 0)), 11, 0)
		check(unix.EpollCtl(10, unix.EPOLL_CTL_ADD, 11, &unix.EpollEvent{Events: unix.EPOLLIN}))
		check(unix.Dup3(11, 12, 0))
		put(must(unix.Eventfd(0, 0)), 11, 0) // the instance still watches fd 12's file, as 11
	}
	subjects["large stale epoll"] = func(dir string) {
		subjects["stale epoll"](dir)
		for num := range 2 * manyTargets {
			put(must(unix.Eventfd(0, 0)), 20+num, 0)
			check(unix.EpollCtl(10, unix.EPOLL_CTL_ADD, 20+num, &unix.EpollEvent{Events: unix.EPOLLIN}))
		}
	}
	subjects["refused"] = func(dir string) {
		if fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT, 0); err == nil { // root only
			check(unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, dir))
			put(fd, 10, 0)
		}
		params := make([]byte, 120)
		r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, bytesAddr(params), 0)
		if errno == 0 {
			put(int(r), 12, 0)
		}
		put(must(unix.PidfdOpen(1, 0)), 13, 0)
		put(must(unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)), 14, 0)
		if r, _, errno := unix.Syscall(unix.SYS_MEMFD_SECRET, 0, 0, 0); errno == 0 {
			put(int(r), 15, 0)
		}
		var p [2]int
		check(unix.Pipe(p[:]))
		put(p[0], 16, 0)
		put(p[1], 17, 0)
		must(unix.FcntlInt(16, unix.F_SETOWN, 1))
		put(must(unix.Open(dir, unix.O_RDONLY, 0)), 18, 0)
		must(unix.FcntlInt(18, unix.F_NOTIFY, 1<<31|4))
		put(must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), 19, 0)
		if fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY, 0); err == nil {
			put(fd, 20, 0)
		}
	}
}

// TestStaleEpoll has an instance watch a file by a number that is another's now.
func TestStaleEpoll(t *testing.T) {
	asUsers(t, "stale epoll", nil)
	asUsers(t, "large stale epoll", nil)
}

// TestRefused finds everything at once.
func TestRefused(t *testing.T) {
	snap := startSubject(t, "refused", 0).capture(t)
	want := map[string]string{
		"fd 10 (anon_inode:[fanotify])": "permission events",
		"fd 12 (anon_inode:[io_uring])": "in flight",
		"fd 13 (anon_inode:[pidfd])":    "process 1, which is not in the tree",
		"fd 14 (net:[":                  "namespaces",
		"fd 15 (/secretmem (deleted))":  "hides",
		"fd 16 (pipe:[":                 "signals go to 1",
		"fd 18 (":                       "F_NOTIFY",
		"fd 19 (socket:[":               "not known", // netstate's, which these tests do not use
		"fd 20 (/dev/kmsg)":             "character device 1:11",
	}
	for what := range want {
		var num int
		must(fmt.Sscanf(what, "fd %d", &num))
		if _, ok := snap.tables[0][num]; !ok {
			delete(want, what) // not on this kernel, or not for this user
		}
	}
	wantRefused(t, snap, want)
}

func init() {
	subjects["signals"] = func(dir string) {
		var p [2]int
		check(unix.Pipe(p[:]))
		put(p[0], 10, 0)
		put(p[1], 11, 0)
		must(unix.FcntlInt(10, unix.F_SETOWN, os.Getpid()))
		must(unix.FcntlInt(10, unix.F_SETSIG, realtime))
		must(unix.FcntlInt(10, unix.F_SETFL, unix.O_ASYNC|unix.O_NONBLOCK))
	}
}

func TestSignalOwner(t *testing.T) {
	s := startSubject(t, "signals", 0)
	snap := s.capture(t)
	owner := snap.state.Files[snap.tableOf(0).mustFind(10)].Owner
	if owner == nil || owner.ID != int32(s.pid) || owner.Type != ownerPID {
		t.Fatalf("owner %+v", owner)
	}
	owner.ID = int32(os.Getpid()) // the subject's own id is still in use
	err := s.restore(t, snap, func(b *restored) error {
		fd := must((&Opener{Proc: b.procs[0]}).Copy(10))
		defer unix.Close(fd)
		host, err := getOwner(fd)
		signal := must(unix.FcntlInt(uintptr(fd), unix.F_GETSIG, 0))
		flags := must(unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0))
		if host != (ownerEx{ownerPID, int32(os.Getpid())}) || signal != realtime || flags != unix.O_ASYNC|unix.O_NONBLOCK {
			t.Errorf("owner %+v, signal %d, flags %#o", host, signal, flags)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func init() {
	subjects["pidfd"] = func(dir string) {
		child := spawn()
		put(must(unix.PidfdOpen(child, unix.PIDFD_NONBLOCK)), 10, unix.O_CLOEXEC)
		check(unix.Dup3(10, 12, 0))
		put(must(unix.PidfdOpen(os.Getpid(), 0)), 11, unix.O_CLOEXEC)
	}
}

func TestPidfd(t *testing.T) {
	s := startSubject(t, "pidfd", 0)
	snap := s.capture(t)
	if len(snap.refused) > 0 {
		t.Fatalf("refused: %v", snap.refused)
	}
	// The subject's own ids are still in use, so the copy's pidfds lead to it.
	err := s.restore(t, snap, func(b *restored) error {
		compareTables(t, snap.tables[0], describeTable(b.procs[0].PID), 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func init() {
	subjects["locks"] = func(dir string) {
		for num := 10; num <= 13; num++ {
			put(must(unix.Open(fmt.Sprintf("%s/lock%d", dir, num), unix.O_RDWR|unix.O_CREAT, 0o644)), num, 0)
		}
		check(unix.FcntlFlock(10, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 5, Len: 10}))
		check(unix.FcntlFlock(10, unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 100}))
		check(unix.FcntlFlock(11, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 1, Len: 1}))
		check(unix.Flock(12, unix.LOCK_EX))
		check(unix.Flock(13, unix.LOCK_SH))
		check(unix.Dup3(10, 20, 0))
		spawn(10, 11, 12) // shares descriptions; the POSIX locks are not its
	}
}

func TestLocks(t *testing.T) {
	for _, uid := range []int{0, nobody} {
		s := startSubject(t, "locks", uid)
		snap := s.capture(t)
		none := func(*restored) error { return nil }
		if err := s.restore(t, snap, none); err == nil || !strings.Contains(err.Error(), "another process has locked it") {
			t.Errorf("locked by the subject still: %v", err)
		}
		killAll(snap.pids...)
		err := s.restore(t, snap, func(b *restored) error {
			for i, p := range b.procs {
				compareTables(t, snap.tables[i], describeTable(p.PID), i)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNumbers(t *testing.T) {
	n := numbers{used: map[int]bool{}, reserved: map[int]bool{4: true}}
	for _, num := range []int{0, 1, 3} {
		n.add(num)
	}
	if got := n.lowest(); got != 2 {
		t.Errorf("lowest %d, not 2", got)
	}
	n.add(2)
	if got := n.lowest(); got != 5 {
		t.Errorf("lowest %d, not 5", got)
	}
	n.remove(1)
	if got := n.lowest(); got != 1 {
		t.Errorf("lowest %d, not 1", got)
	}
}

func TestGaps(t *testing.T) {
	const end = 1<<32 - 1
	for _, c := range []struct {
		stay []int
		want []span
	}{
		{nil, []span{{0, end}}},
		{[]int{0, 1, 2}, []span{{3, end}}},
		{[]int{1, 5}, []span{{0, 0}, {2, 4}, {6, end}}},
	} {
		stay := map[int]bool{}
		for _, num := range c.stay {
			stay[num] = true
		}
		if got := gaps(stay); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("gaps of %v: %v, not %v", c.stay, got, c.want)
		}
	}
}

func TestLockBytes(t *testing.T) {
	got := Lock{Kind: LockPOSIX, Write: true, Start: 5, Len: 10}.flock()
	want := []byte{1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if !bytes.Equal(got, want) {
		t.Errorf("struct flock %v, not %v", got, want)
	}
}

// realtime is a real-time signal.
const realtime = 40
