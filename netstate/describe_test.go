package netstate

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

func TestMain(m *testing.M) {
	// What whoever runs the tests has left open is not for the subjects.
	check(unix.CloseRange(3, 1<<30, unix.CLOSE_RANGE_CLOEXEC))
	os.Exit(m.Run())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// socketOf makes a socket that is closed with the test.
func socketOf(t *testing.T, domain, typ, protocol int) int {
	t.Helper()
	fd := must(unix.Socket(domain, typ|unix.SOCK_CLOEXEC, protocol))
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func wantDescription(t *testing.T, fd int, want string) {
	t.Helper()
	s, err := describe(fd)
	if got := s.String(); err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if s.hint() == "" {
		t.Error("no hint")
	}
}

func TestDescribe(t *testing.T) {
	wantDescription(t, socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0), "ipv4 tcp socket, at 0.0.0.0:0, CLOSE")
	wantDescription(t, socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, 0), "ipv6 udp socket, at [::]:0")
	wantDescription(t, socketOf(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), "unix seqpacket socket")
	wantDescription(t, socketOf(t, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT), "netlink raw socket (protocol 15)")

	name := t.TempDir() + "/s"
	fd := socketOf(t, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check(unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	check(unix.Listen(fd, 1))
	wantDescription(t, fd, "unix stream socket, at "+name+", LISTEN")
	client := socketOf(t, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check(unix.Connect(client, &unix.SockaddrUnix{Name: name}))
	wantDescription(t, client, "unix stream socket, to "+name)
}

func TestDescribeTCP(t *testing.T) {
	server := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	check(unix.Bind(server, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(unix.Listen(server, 1))
	at := must(unix.Getsockname(server)).(*unix.SockaddrInet4)
	wantDescription(t, server, fmt.Sprintf("ipv4 tcp socket, at 127.0.0.1:%d, LISTEN", at.Port))
	client := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	check(unix.Connect(client, at))
	own := must(unix.Getsockname(client)).(*unix.SockaddrInet4)
	wantDescription(t, client, fmt.Sprintf("ipv4 tcp socket, 127.0.0.1:%d to 127.0.0.1:%d, ESTABLISHED", own.Port, at.Port))
}

// TestRefused captures a process with sockets as nobody's program would have
// them, and finds each refused by name.
func TestRefused(t *testing.T) {
	udp := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	check(unix.SetsockoptInt(udp, solUDP, udpCork, 1))
	check(unix.Sendto(udp, []byte("x"), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}))
	cmd := exec.Command("/bin/sleep", "60")
	for _, fd := range []int{udp} {
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	check(cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	refused := captureOf(t, task.PID(cmd.Process.Pid))
	var list *refuse.Error
	if e, ok := refused.Err().(*refuse.Error); ok {
		list = e
	} else {
		t.Fatal("nothing refused")
	}
	if len(list.Objects) != 1 {
		t.Fatalf("refused: %v", list)
	}
	for i, why := range []string{"it has data that it has not sent yet"} {
		if o := list.Objects[i]; !strings.HasPrefix(o.Why, why) || !strings.HasPrefix(o.What, fmt.Sprintf("fd %d (socket:[", 3+i)) || o.Comm != "sleep" {
			t.Errorf("refused %+v", o)
		}
	}
}

type noObjects struct{}

func (noObjects) Object(task.PID, int, *unix.Stat_t, string) (uint32, error) { return 0, nil }

func captureOf(t *testing.T, pid task.PID) *refuse.List {
	t.Helper()
	refused := &refuse.List{}
	err := task.OnThread(func() error {
		tree, err := task.Freeze([]task.PID{pid}, 5*time.Second)
		if err != nil {
			return err
		}
		defer tree.Thaw()
		kinds := WithFiles()
		held, infected := tree.Procs[0], false
		infect := func() error {
			if infected {
				return nil
			}
			infected = true
			vmas, err := procfs.ReadMaps(int(pid))
			if err != nil {
				return err
			}
			return held.Infect(vmas)
		}
		_, err = fdstate.Capture([]fdstate.Proc{{Held: held, Comm: "sleep", Infect: infect}}, kinds, noObjects{}, nil, refused)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

// TestTags keeps tags apart from fdstate's.
func TestTags(t *testing.T) {
	seen := map[fdstate.Tag]string{}
	for _, k := range WithFiles() {
		if seen[k.Tag] != "" {
			t.Errorf("tag %d is of %s and of %s", k.Tag, seen[k.Tag], k.Name)
		}
		seen[k.Tag] = k.Name
	}
}
