package netstate

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHold holds one of two connections, lets it go, and finds nothing lost.
func TestHold(t *testing.T) {
	for name, domain := range map[string]int{"ipv4": unix.AF_INET, "ipv6": unix.AF_INET6} {
		t.Run(name, func(t *testing.T) {
			ownNet(t)
			server, client := connection(t, domain)
			other, otherClient := connection(t, domain)
			h, err := newHold()
			if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("this kernel has no nftables")
			}
			check(err)
			check(h.add(must(addrPort(unix.Getsockname(server))), must(addrPort(unix.Getpeername(server)))))
			buf := make([]byte, 8)
			for _, way := range [][2]int{{server, client}, {client, server}} {
				must(unix.Write(way[0], []byte("held")))
				time.Sleep(20 * time.Millisecond)
				if n, err := unix.Read(way[1], buf); err == nil {
					t.Errorf("%d bytes have passed", n)
				}
			}
			must(unix.Write(other, []byte("free")))
			if got := readAll(t, otherClient, 4); string(got) != "free" {
				t.Errorf("another connection: %q", got)
			}
			check(h.close())
			for _, fd := range []int{client, server} {
				if got := readAll(t, fd, 4); string(got) != "held" {
					t.Errorf("afterwards: %q", got)
				}
			}
			if h, err = newHold(); err != nil { // the name is free again
				t.Fatal(err)
			}
			check(h.close())
		})
	}
}

// TestHoldKilled kills who holds, and finds nothing left.
func TestHoldKilled(t *testing.T) {
	if os.Getenv("SUPERVISE_TEST_HOLD") != "" {
		h := must(newHold())
		check(h.add(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")))
		os.Stdout.WriteString("held\n")
		time.Sleep(time.Hour) // not select: the runtime ends a program in which nothing can happen any more
	}
	ownNet(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("there is no nft to list rules with")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestHoldKilled$")
	cmd.Env = append(os.Environ(), "SUPERVISE_TEST_HOLD=1")
	out := must(cmd.StdoutPipe())
	check(cmd.Start())
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatalf("the holder says nothing: %v", err)
	}
	list := func() string {
		b, err := exec.Command(nft, "list", "ruleset").CombinedOutput()
		check(err)
		return string(b)
	}
	if got := list(); !strings.Contains(got, "table inet supervise-") || !strings.Contains(got, "ip saddr 10.0.0.2 ip daddr 10.0.0.1") || !strings.Contains(got, "flags owner") {
		t.Errorf("rules while it lives:\n%s", got)
	}
	check(cmd.Process.Kill())
	_ = cmd.Wait()
	if got := list(); got != "" {
		t.Errorf("rules after its death:\n%s", got)
	}
}
