package netstate

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

var sampleUnix = Unix{ID: 3, Type: unix.SOCK_SEQPACKET, Name: &UnixName{Path: []byte("s"), File: &Bound{Dir: "/run", Mode: 0o755, UID: 1, GID: 2}},
	Peer: 4, Gone: &Gone{Name: []byte("\x00gone"), Reset: true}, Listen: &Listen{Backlog: 5, Waiting: []Waiting{{ID: 6, Cred: Cred{7, 8, 9, nil}}}},
	Shutdown: 3, Cred: &Cred{1, 2, 3, []uint32{4}}, Queue: []UnixMessage{{Data: []byte("x"), From: []byte("y"), Cred: &Cred{4, 5, 6, []uint32{}}, Files: []int{0}}},
	Options: []Option{{Level: unix.SOL_SOCKET, Name: unix.SO_PASSCRED, Value: []byte{1, 0, 0, 0}}}, Buffers: Buffers{Send: 4608, Receive: 2304, Locks: 3}}

// TestUnixRecord writes and reads a record, and refuses what would send the
// restore side astray.
func TestUnixRecord(t *testing.T) {
	data := must(cbor.Marshal(&sampleUnix))
	state := fdstate.State{Files: []fdstate.File{{Tag: 200, Link: "socket:[1]", Data: data}}, Tables: []fdstate.Table{{{Num: 3}}}}
	records, err := state.Records(WithFiles())
	if err != nil {
		t.Fatal(err)
	}
	got := *records[0].(*Unix)
	if got.net = nil; !reflect.DeepEqual(got, sampleUnix) {
		t.Errorf("got %+v", got)
	}
	for want, change := range map[string]func(*Unix){
		"not a unix socket":     func(u *Unix) { u.Type = unix.SOCK_RAW },
		"not the name":          func(u *Unix) { u.Name = &UnixName{} },
		"no file 1":             func(u *Unix) { u.Queue = []UnixMessage{{Files: []int{1}}} },
		"too many descriptors":  func(u *Unix) { u.Queue = []UnixMessage{{Files: make([]int, 254)}} },
		"no socket option 9999": func(u *Unix) { u.Options = []Option{{Level: unix.SOL_SOCKET, Name: 9999, Value: []byte{1}}} },
	} {
		bad := sampleUnix
		change(&bad)
		state.Files[0].Data = must(cbor.Marshal(&bad))
		if _, err := state.Records(WithFiles()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestUnixTable asks the kernel about sockets of ours.
func TestUnixTable(t *testing.T) {
	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(pair[1])
	ino := func(fd int) uint32 {
		var st unix.Stat_t
		check(unix.Fstat(fd, &st))
		return uint32(st.Ino)
	}
	check(unix.Shutdown(pair[0], unix.SHUT_WR))
	name := t.TempDir() + "/s"
	listener := socketOf(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	check(unix.Bind(listener, &unix.SockaddrUnix{Name: name}))
	check(unix.Listen(listener, 7))
	client := socketOf(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	check(unix.Connect(client, &unix.SockaddrUnix{Name: name}))

	diag := must(ownNetlink(unix.NETLINK_SOCK_DIAG))
	defer unix.Close(diag)
	whole := must(readUnixTable(diag))
	for _, table := range []unixTable{whole, {}} { // the second asks about each
		a, b := must(table.find(diag, ino(pair[0]))), must(table.find(diag, ino(pair[1])))
		if a.peer != b.ino || b.peer != a.ino || a.shutdown != shutWrite || b.shutdown != shutRead || a.state != stateEstablished {
			t.Errorf("pair: %+v and %+v", a, b)
		}
		l := must(table.find(diag, ino(listener)))
		if string(trimPath(l.name)) != name || l.state != stateListen || l.backlog != 7 || !l.bound || l.hasPeer ||
			len(l.waiting) != 1 || l.waiting[0] != ino(client) {
			t.Errorf("listener: %+v", l)
		}
	}
	gone := ino(pair[0])
	check(unix.Close(pair[0]))
	if _, err := (unixTable{}).find(diag, gone); err != unix.ENOENT && (err == nil || !strings.Contains(err.Error(), "no such file")) {
		t.Errorf("of a closed socket: %v", err)
	}
	if b := must(unixTable{}.find(diag, ino(pair[1]))); !b.hasPeer || b.peer != 0 || b.shutdown != shutRead|shutWrite {
		t.Errorf("with a closed peer: %+v", b)
	}
}

func TestParseDiagRefuses(t *testing.T) {
	entry := append(make([]byte, 16), 8, 0, diagPeer, 0, 1, 2, 3, 4)
	if e, err := parseDiag(entry); err != nil || e.peer != 0x04030201 {
		t.Fatalf("%+v, %v", e, err)
	}
	for cut := 20; cut < len(entry); cut++ {
		if _, err := parseDiag(entry[:cut]); err == nil {
			t.Errorf("cut after %d bytes: no error", cut)
		}
	}
	long := bytes.Clone(entry)
	long[16] = 99
	if _, err := parseDiag(long); err == nil {
		t.Error("an attribute longer than the message: no error")
	}
}
