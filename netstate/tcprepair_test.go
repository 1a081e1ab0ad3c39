package netstate

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNet puts the test into a network namespace of its own.
func ownNet(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a network namespace without a user namespace")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	check(unix.Unshare(unix.CLONE_NEWNET))
	fd := must(ownNetlink(unix.NETLINK_ROUTE))
	defer unix.Close(fd)
	check(setUp(fd, loopbackIndex))
}

// connection gives both ends of a connection on the loopback.
func connection(t *testing.T, domain int) (server, client int) {
	t.Helper()
	l := socketOf(t, domain, unix.SOCK_STREAM, 0)
	var at unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if domain == unix.AF_INET6 {
		at = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	check(unix.Bind(l, at))
	check(unix.Listen(l, 1))
	client = socketOf(t, domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err := unix.Connect(client, must(unix.Getsockname(l))); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	server, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	check(err)
	return server, client
}

// readAll reads n bytes, or up to the end if n is negative.
func readAll(t *testing.T, fd, n int) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(20 * time.Second); n < 0 || len(all) < n; {
		want := len(buf)
		if n >= 0 {
			want = min(want, n-len(all))
		}
		got, err := unix.Read(fd, buf[:want])
		switch {
		case errors.Is(err, unix.EAGAIN) && time.Now().Before(deadline):
			time.Sleep(time.Millisecond)
		case err != nil:
			t.Fatalf("read after %d of %d bytes: %v", len(all), n, err)
		case got == 0:
			return all
		default:
			all = append(all, buf[:got]...)
		}
	}
	return all
}

// pattern is data that tells where it is.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8) ^ byte(i)
	}
	return b
}

// moved takes a connection from one socket to a new one, as a snapshot that ends
// a tree and a restart do.
func moved(t *testing.T, fd, domain int, state TCPState) (int, *TCPRepair, []byte) {
	t.Helper()
	var r *TCPRepair
	local, peer := must(unix.Getsockname(fd)), must(unix.Getpeername(fd))
	queue := make([]byte, must(unix.IoctlGetInt(fd, unix.TIOCINQ)))
	if len(queue) > 0 {
		_, _, err := unix.Recvfrom(fd, queue, unix.MSG_PEEK)
		check(err)
	}
	check(repaired(fd, func() (err error) {
		r, err = captureRepair(fd, state)
		return err
	}))
	check(setTCP(fd, unix.TCP_REPAIR, repairOn))
	check(unix.Close(fd))
	again := socketOf(t, domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	check(r.restore(again, local, peer, queue, state))
	check(r.goOn(again, 0))
	check(r.finish(again, must(addrPort(local, nil)), must(addrPort(peer, nil)), state))
	return again, r, queue
}

// TestRepair moves an end with full queues in both directions.
func TestRepair(t *testing.T) {
	for name, domain := range map[string]int{"ipv4": unix.AF_INET, "ipv6": unix.AF_INET6} {
		t.Run(name, func(t *testing.T) {
			ownNet(t)
			server, client := connection(t, domain)
			out, in := pattern(16<<20), pattern(30000)
			sent := 0
			for {
				n, err := unix.Write(server, out[sent:])
				if err != nil {
					break
				}
				sent += n
				time.Sleep(time.Millisecond)
			}
			if n := must(unix.Write(client, in)); n != len(in) {
				t.Fatalf("wrote %d bytes", n)
			}
			time.Sleep(50 * time.Millisecond)
			again, r, queue := moved(t, server, domain, tcpEstablished)
			if !bytes.Equal(queue, in) || len(r.Sent)+len(r.Unsent) == 0 || r.Scales == nil || !r.SACK || r.Timestamp == nil || r.MSS < 1000 {
				t.Errorf("%d bytes received, %d sent, %d not sent, %+v", len(queue), len(r.Sent), len(r.Unsent), *r)
			}
			if got := readAll(t, again, len(in)); !bytes.Equal(got, in) {
				t.Error("what had been received is not what was sent")
			}
			if got := readAll(t, client, sent); !bytes.Equal(got, out[:sent]) {
				t.Error("what had been sent does not arrive")
			}
			for _, way := range [][2]int{{client, again}, {again, client}} {
				if n := must(unix.Write(way[0], in)); n != len(in) {
					t.Errorf("wrote %d bytes", n)
				}
				if got := readAll(t, way[1], len(in)); !bytes.Equal(got, in) {
					t.Error("the connection does not go on")
				}
			}
			check(unix.Close(again))
			if got := readAll(t, client, -1); len(got) != 0 {
				t.Errorf("%d bytes before the end", len(got))
			}
		})
	}
}

// TestRepairUndisturbed: a look in repair mode changes nothing.
func TestRepairUndisturbed(t *testing.T) {
	ownNet(t)
	server, client := connection(t, unix.AF_INET)
	check(unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	out := pattern(8 << 20)
	done := make(chan []byte)
	go func() { done <- readAll(t, client, len(out)) }()
	for rest := out; len(rest) > 0; {
		if n, err := unix.Write(server, rest[:min(len(rest), 10000)]); err == nil {
			rest = rest[n:]
		}
		check(repaired(server, func() error {
			_, _ = captureRepair(server, tcpEstablished) // its parts need not fit: acknowledgements come in
			return nil
		}))
	}
	if !bytes.Equal(<-done, out) {
		t.Error("what arrives is not what was sent")
	}
	if must(unix.GetsockoptInt(server, unix.SOL_SOCKET, unix.SO_REUSEADDR)) != 1 {
		t.Error("SO_REUSEADDR is lost")
	}
}

// TestRepairShutDown moves an end that has sent its end.
func TestRepairShutDown(t *testing.T) {
	ownNet(t)
	server, client := connection(t, unix.AF_INET)
	check(unix.Shutdown(server, unix.SHUT_WR))
	time.Sleep(20 * time.Millisecond)
	again, _, _ := moved(t, server, unix.AF_INET, tcpFinWait2)
	if got := readAll(t, client, -1); len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
	must(unix.Write(client, []byte("late")))
	if got := readAll(t, again, 4); string(got) != "late" {
		t.Errorf("got %q", got)
	}
	check(unix.Close(client))
	if got := readAll(t, again, -1); len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestRepairOtherShut moves an end whose other end has sent its end, with data
// before it and after it in both directions.
func TestRepairOtherShut(t *testing.T) {
	for name, domain := range map[string]int{"ipv4": unix.AF_INET, "ipv6": unix.AF_INET6} {
		t.Run(name, func(t *testing.T) {
			ownNet(t)
			server, client := connection(t, domain)
			must(unix.Write(client, []byte("last words")))
			check(unix.Shutdown(client, unix.SHUT_WR))
			time.Sleep(20 * time.Millisecond)
			again, _, _ := moved(t, server, domain, tcpCloseWait)
			if got := readAll(t, again, -1); string(got) != "last words" {
				t.Errorf("got %q", got)
			}
			must(unix.Write(again, []byte("answer")))
			if got := readAll(t, client, 6); string(got) != "answer" {
				t.Errorf("got %q", got)
			}
			check(unix.Close(again))
			if got := readAll(t, client, -1); len(got) != 0 {
				t.Errorf("%d bytes", len(got))
			}
			info := must(unix.GetsockoptTCPInfo(client, unix.IPPROTO_TCP, unix.TCP_INFO))
			if s := TCPState(info.State); s != tcpClose {
				t.Errorf("the other end is in state %v", s)
			}
		})
	}
}

// TestRepairBothShut moves an end when both have sent their end, and ours has
// not been acknowledged.
func TestRepairBothShut(t *testing.T) {
	for _, state := range []TCPState{tcpLastAck, tcpClosing} {
		t.Run(state.String(), func(t *testing.T) {
			ownNet(t)
			server, client := connection(t, unix.AF_INET)
			if state == tcpLastAck {
				check(unix.Shutdown(client, unix.SHUT_WR))
				time.Sleep(20 * time.Millisecond)
			}
			h := must(newHold())
			check(h.add(must(addrPort(unix.Getsockname(server))), must(addrPort(unix.Getpeername(server)))))
			must(unix.Write(server, []byte("last words")))
			check(unix.Shutdown(server, unix.SHUT_WR))
			if state == tcpClosing {
				check(unix.Shutdown(client, unix.SHUT_WR))
			}
			r := &TCPRepair{}
			local, peer := must(unix.Getsockname(server)), must(unix.Getpeername(server))
			was := TCPState(must(unix.GetsockoptTCPInfo(server, unix.IPPROTO_TCP, unix.TCP_INFO)).State)
			check(repaired(server, func() (err error) {
				r, err = captureRepair(server, was)
				return err
			}))
			if string(r.Sent)+string(r.Unsent) != "last words" {
				t.Errorf("state %v: sent %q, not sent %q", was, r.Sent, r.Unsent)
			}
			check(setTCP(server, unix.TCP_REPAIR, repairOn))
			check(unix.Close(server))
			again := socketOf(t, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			check(r.restore(again, local, peer, nil, was))
			check(h.close())
			check(r.goOn(again, 0))
			check(r.finish(again, must(addrPort(local, nil)), must(addrPort(peer, nil)), was))
			if got := readAll(t, client, -1); string(got) != "last words" {
				t.Errorf("got %q", got)
			}
			if got := readAll(t, again, -1); len(got) != 0 {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}
