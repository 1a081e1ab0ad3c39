package virtual

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

func TestMain(m *testing.M) {
	if os.Args[0] == AnswererName {
		os.Exit(Answer())
	}
	os.Exit(m.Run())
}

// under runs fn on a thread that is under a filter for rules; nil: under none.
func under(t testing.TB, rules *Rules, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends, and with it the answerer
		if rules == nil {
			fn()
			done <- nil
			return
		}
		err := rules.SetProgram()
		listener := -1
		if err == nil {
			listener, err = rules.Install()
		}
		if err == nil {
			started := make(chan error)
			go func() { started <- rules.StartAnswerer(listener) }()
			err = errors.Join(<-started, unix.Close(listener))
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestAnswerer: this thread is answered, others are not.
func TestAnswerer(t *testing.T) {
	const name = "a.name.that.no.host.has"
	var seen, other unix.Utsname
	under(t, &Rules{Hostname: name}, func() {
		if err := unix.Uname(&seen); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Uname(&other); err != nil {
		t.Error(err)
	}
	got, real := unix.ByteSliceToString(seen.Nodename[:]), unix.ByteSliceToString(other.Nodename[:])
	if got != name || real == name {
		t.Errorf("%s here, %s elsewhere", got, real)
	}
	if seen.Nodename = other.Nodename; seen != other {
		t.Errorf("more than the name: %v, %v", seen, other)
	}
}

// BenchmarkVirtualize measures what calls cost: not named, with a filter and
// without, and named.
func BenchmarkVirtualize(b *testing.B) {
	files := []File{{Path: "/etc/machine-id", Content: []byte("0123456789abcdef0123456789abcdef\n")}}
	open := func(name string) func() {
		return func() {
			fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
	}
	getppid := func() { unix.Getppid() }
	var u unix.Utsname
	uname := func() { _ = unix.Uname(&u) }
	for _, c := range []struct {
		name  string
		rules *Rules
		call  func()
	}{
		{"getppid/without", nil, getppid},
		{"getppid/not-named", &Rules{Hostname: "h", Files: files}, getppid},
		{"getppid/translated", &Rules{Translate: true, Aliases: []task.Alias{{Own: 1 << 21, Kernel: 1 << 20}}}, getppid},
		{"uname/without", nil, uname},
		{"uname/not-named", &Rules{Files: files}, uname},
		{"uname/named", &Rules{Hostname: "h"}, uname},
		{"open/without", nil, open("/dev/null")},
		{"open/named-other-file", &Rules{Files: files}, open("/dev/null")},
		{"open/named", &Rules{Files: files}, open("/etc/machine-id")},
	} {
		b.Run(c.name, func(b *testing.B) {
			under(b, c.rules, func() {
				for b.Loop() {
					c.call()
				}
			})
		})
	}
}
