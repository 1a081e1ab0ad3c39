package virtual

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// TestErrors compares the messages on a file in which every line is wrong.
func TestErrors(t *testing.T) {
	const golden = "testdata/bad.golden"
	b, err := os.ReadFile("testdata/bad.rules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Parse("bad.rules", string(b)); err == nil {
		t.Fatal("no error")
	}
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if got := err.Error() + "\n"; got != string(want) {
		t.Errorf("the messages are\n%s\nwant\n%s", got, want)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if says := strings.Contains(err.Error(), fmt.Sprintf("bad.rules:%d: ", i+1)); says == (line[0] == '#') {
			t.Errorf("line %d (%s): error is %v", i+1, line, says)
		}
	}
	for text, want := range map[string]string{
		"":                          "no rule",
		"hostname\nhostname a":      "f:2: hostname is there already, at f:1",
		"address ::1\naddress 0::1": "f:2: address ::1 is there already",
	} {
		if _, err := Parse("f", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// fixed is a Source.
type fixed map[string]string

func (f fixed) Hostname() (string, error) { return f["hostname"], nil }
func (f fixed) ReadFile(path string) ([]byte, error) {
	if text, ok := f[path]; ok {
		return []byte(text), nil
	}
	return nil, fs.ErrNotExist
}
func (f fixed) HardwareAddr(string) (string, error) { return f["mac"], nil }

func apply(t *testing.T, r *Rules, from Source, text string) error {
	t.Helper()
	w, err := Parse("f", text)
	if err != nil {
		t.Fatal(err)
	}
	return w.Apply(r, from)
}

// TestApply: values of the file, of the rules that there are, of the source.
func TestApply(t *testing.T) {
	host := fixed{"hostname": "h", "/etc/machine-id": "id\n", "/etc/x": "x", "mac": "02:00:5e:00:53:01"}
	var r Rules
	const all = "hostname\nmachine-id\nfile /etc/x\nfile /etc/y\naddress 10.0.0.1\nmac eth0"
	if err := apply(t, &r, host, all); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.SetProgram(), r.Check()); err != nil {
		t.Fatal(err)
	}
	if r.Hostname != "h" || string(r.file("/var/lib/dbus/machine-id").Content) != "id\n" || string(r.file("/etc/x").Content) != "x" ||
		!r.file("/etc/y").Missing || r.Hardware[0].Address != host["mac"] {
		t.Errorf("of the host: %+v", r)
	}
	if err := apply(t, &r, Snapshot{}, all+"\nhostid 01020304"); err != nil {
		t.Errorf("what is there already: %v", err)
	}
	if got := r.file("/etc/hostid").Content; string(got) != "\x04\x03\x02\x01" {
		t.Errorf("hostid %x", got)
	}
	if err := apply(t, &r, Snapshot{}, "hostname new\naddress 10.0.0.1 is=10.0.0.2\nmac eth1 02:00:5e:00:53:02"); err != nil {
		t.Fatal(err)
	}
	if r.Hostname != "new" || len(r.Addresses) != 1 || r.Addresses[0].Real != "10.0.0.2" || len(r.Hardware) != 2 {
		t.Errorf("changed: %+v", r)
	}
	var none Rules
	err := apply(t, &none, Snapshot{Host: "old"}, "hostname\nboot-id\nmac eth0")
	if none.Hostname != "old" || err == nil || strings.Contains(err.Error(), "f:1:") ||
		!strings.Contains(err.Error(), "f:2:") || !strings.Contains(err.Error(), "f:3:") {
		t.Errorf("of a snapshot without rules: %+v, %v", none, err)
	}
	if err := apply(t, &none, host, "boot-id"); err == nil {
		t.Error("a boot id that this host has not")
	}
}

// TestCheck: rules that come from outside are looked at.
func TestCheck(t *testing.T) {
	good := Rules{Hostname: "h"}
	if err := good.SetProgram(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Rules){
		func(r *Rules) { r.Hostname = "" },
		func(r *Rules) { r.Hostname = strings.Repeat("h", 65) },
		func(r *Rules) { r.Program = r.Program[1:] },
		func(r *Rules) { r.Program = nil },
		func(r *Rules) { r.Files = []File{{Path: "etc"}} },
		func(r *Rules) { r.Addresses = []Address{{"10.0.0.1", "::1"}} },
		func(r *Rules) { r.Hardware = []Interface{{"eth0", "x"}} },
		func(r *Rules) { r.Calls = []Call{{"exit", Fixed{Errno: 1}}} },
		func(r *Rules) { r.Calls = []Call{{"getuid", Fixed{Errno: 1, Value: 1}}} },
		func(r *Rules) { r.Calls = []Call{{"getuid", Fixed{Bytes: []byte{1}}}} },
		func(r *Rules) { r.Ioctls = []Ioctl{{1, Fixed{Errno: 4096}}} },
		func(r *Rules) { r.Ioctls = make([]Ioctl, maxIoctls+1) },
	} {
		bad := good
		change(&bad)
		if bad.Check() == nil {
			t.Errorf("%d: %+v is right", i, bad)
		}
	}
	if err := errors.Join(good.Check(), (*Rules)(nil).Check()); err != nil {
		t.Error(err)
	}
}

// verdict is what the filter says to a call.
func verdict(t *testing.T, r *Rules, arch uint32, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.BigEndian.AppendUint32(nil, nr) // as task.seccompAction
	data = binary.BigEndian.AppendUint32(data, arch)
	for _, v := range append([]uint64{0}, args[:]...) {
		data = binary.BigEndian.AppendUint32(data, uint32(v))
		data = binary.BigEndian.AppendUint32(data, uint32(v>>32))
	}
	var raw []bpf.RawInstruction
	for b := r.Program; len(b) > 0; b = b[insnSize:] {
		raw = append(raw, bpf.RawInstruction{Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
	}
	insns, all := bpf.Disassemble(raw)
	vm, err := bpf.NewVM(insns)
	if err != nil || !all {
		t.Fatal(all, err)
	}
	ret, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(ret)
}

// TestProgram asks the filter about calls.
func TestProgram(t *testing.T) {
	ask := func(r *Rules, arch uint32, nr uint32, args [6]uint64) uint32 { return verdict(t, r, arch, nr, args) }
	const i386, mark = 0x40000003, task.Mark & (1<<64 - 1)
	hardware := []Interface{{"eth0", "02:00:5e:00:53:01"}}
	addresses := []Address{{"10.0.0.1", "10.0.0.1"}}
	files := []File{{Path: "/x"}}
	for _, c := range []struct {
		rules Rules
		named []uint32
	}{
		{Rules{Hostname: "h"}, []uint32{unix.SYS_UNAME}},
		{Rules{Files: files}, []uint32{unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2}},
		{Rules{Addresses: addresses, Hardware: hardware}, []uint32{unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME}},
		{Rules{Hardware: hardware}, nil},
		{Rules{Hostname: "h", Files: files, Hardware: hardware}, []uint32{unix.SYS_UNAME, unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2}},
	} {
		if err := c.rules.SetProgram(); err != nil {
			t.Fatal(err)
		}
		named := map[uint32]bool{}
		for _, nr := range c.named {
			named[nr] = true
		}
		for nr := range uint32(500) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			if named[nr] {
				want = unix.SECCOMP_RET_USER_NOTIF
			}
			for _, n := range []uint32{nr, nr | x32Bit} {
				if got := ask(&c.rules, auditArch, n, [6]uint64{1, 2, 3, 4, 5, mark + 1}); got != want {
					t.Errorf("%+v: call %#x: %#x", c.rules, n, got)
				}
			}
			if ask(&c.rules, auditArch, nr, [6]uint64{5: mark}) != unix.SECCOMP_RET_ALLOW || ask(&c.rules, i386, nr, [6]uint64{}) != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%+v: call %d of ours, or of 32 bits, is named", c.rules, nr)
			}
		}
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if c.rules.Hardware != nil {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if got := ask(&c.rules, auditArch, unix.SYS_IOCTL, [6]uint64{1: unix.SIOCGIFHWADDR}); got != want {
			t.Errorf("%+v: SIOCGIFHWADDR: %#x", c.rules, got)
		}
	}
}

// TestFixed: answers that are errors are the filter's own, others the answerer's;
// all rules that there may be fit into one filter.
func TestFixed(t *testing.T) {
	var text strings.Builder
	for name := range answerable {
		fmt.Fprintf(&text, "call %s errno=EPERM\n", name)
	}
	for i := range maxIoctls {
		fmt.Fprintf(&text, "ioctl %#x value=%d bytes=0a\n", i, i)
	}
	all := Rules{Hostname: "h", Files: []File{{Path: "/x"}}, Addresses: []Address{{"10.0.0.1", "10.0.0.1"}}, Hardware: []Interface{{"eth0", "02:00:5e:00:53:01"}}}
	if err := errors.Join(apply(t, &all, fixed{}, text.String()), all.SetProgram(), all.Check()); err != nil {
		t.Fatal(err)
	}
	if err := apply(t, &all, fixed{}, "ioctl 0xffffffff errno=EPERM"); err == nil {
		t.Error("one ioctl too many")
	}
	r := Rules{}
	const some = "call getuid value=0x10\ncall mlockall errno=EPERM\nioctl 7 errno=ENOTTY\nioctl 0x8 value=1"
	if err := errors.Join(apply(t, &r, fixed{}, some), r.SetProgram()); err != nil {
		t.Fatal(err)
	}
	const permit, ask = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_USER_NOTIF
	for _, c := range []struct {
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{unix.SYS_GETUID, [6]uint64{}, ask},
		{unix.SYS_GETUID, [6]uint64{5: task.Mark & (1<<64 - 1)}, permit},
		{unix.SYS_GETGID, [6]uint64{}, permit},
		{unix.SYS_MLOCKALL, [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{unix.SYS_MLOCKALL, [6]uint64{5: task.Mark & (1<<64 - 1)}, permit},
		{unix.SYS_IOCTL, [6]uint64{1: 7 | 1<<40}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOTTY)},
		{unix.SYS_IOCTL, [6]uint64{1: 8}, ask},
		{unix.SYS_IOCTL, [6]uint64{1: 9}, permit},
	} {
		if got := verdict(t, &r, auditArch, c.nr, c.args); got != c.want {
			t.Errorf("call %d with %x: %#x, want %#x", c.nr, c.args, got, c.want)
		}
	}
}

// TestSockaddr rewrites addresses.
func TestSockaddr(t *testing.T) {
	r := Rules{Addresses: []Address{{"10.0.0.1", "10.7.7.7"}, {"2001:db8::1", "::1"}, {"10.0.0.2", "10.0.0.2"}}}
	in4 := func(ip string) sockaddr {
		a := netip.MustParseAddr(ip).As4()
		return append(sockaddr{unix.AF_INET, 0, 0, 80}, append(a[:], make([]byte, 8)...)...)
	}
	in6 := func(ip string) sockaddr {
		a := netip.MustParseAddr(ip).As16()
		return append(sockaddr{unix.AF_INET6, 0, 0, 80, 1, 2, 3, 4}, append(a[:], 0, 0, 0, 9)...)
	}
	for _, c := range []struct{ seen, real sockaddr }{
		{in4("10.0.0.1"), in4("10.7.7.7")},
		{in6("::ffff:10.0.0.1"), in6("::ffff:10.7.7.7")},
		{in6("2001:db8::1"), in6("::1")},
		{in6("2001:db8::1")[:24], in6("::1")[:24]},
		{in4("10.0.0.2"), nil}, {in4("10.0.0.3"), nil}, {in4("10.0.0.1")[:10], nil}, {in6("::"), nil},
		{sockaddr{unix.AF_UNIX, 0, 'a', 0, 'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil}, {sockaddr{1}, nil}, {nil, nil},
	} {
		got := append(sockaddr(nil), c.seen...)
		if changed := got.replace(r.toReal); changed != (c.real != nil) || changed && string(got) != string(c.real) {
			t.Errorf("%x: %v, %x, want %x", c.seen, changed, got, c.real)
		}
		if c.real != nil && (!got.replace(r.toSeen) || string(got) != string(c.seen)) {
			t.Errorf("%x: and back: %x", c.seen, got)
		}
	}
}
