package taskstate

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestOffsetLineKeepsNanosecondsPositive(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{1500 * time.Millisecond, "monotonic 1 500000000\n"},
		{-1500 * time.Millisecond, "monotonic -2 500000000\n"},
		{-2 * time.Second, "monotonic -2 0\n"},
		{0, "monotonic 0 0\n"},
	} {
		if got := offsetLine("monotonic", test.d); got != test.want {
			t.Errorf("%v: %q", test.d, got)
		}
	}
}

func TestActionRoundTrip(t *testing.T) {
	a := Action{Signal: 10, Handler: 0x1234, Flags: 0x14000004, Restorer: 0x5678, Mask: 1 << 63}
	if got := decodeAction(10, a.encode()); got != a {
		t.Errorf("%+v", got)
	}
	if n := len(a.encode()); n != sigactionSize {
		t.Errorf("%d bytes", n)
	}
}

func TestSigevent(t *testing.T) {
	b := PosixTimer{Value: 1, Signal: 2, Notify: sigevThreadID, Target: 77}.sigevent(nil)
	if binary.LittleEndian.Uint64(b) != 1 || b[8] != 2 || b[12] != 4 || b[16] != 77 || len(b) != sigeventSize {
		t.Errorf("%x", b)
	}
}

func TestCapData(t *testing.T) {
	c := Creds{Effective: 1<<40 | 2, Permitted: 1<<40 | 3, Inheritable: 4}
	b := c.capData()
	var got []uint32
	for i := 0; i < len(b); i += 4 {
		got = append(got, binary.LittleEndian.Uint32(b[i:]))
	}
	want := []uint32{2, 3, 4, 1 << 8, 1 << 8, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestPendingSet(t *testing.T) {
	sig := func(n byte) Siginfo { return Siginfo{n, 0, 0, 0} }
	p := Process{Pending: []Siginfo{sig(1)}, Threads: []Thread{{Pending: []Siginfo{sig(64), sig(17)}}}}
	if got := p.pendingSet(); got != 1|1<<63|1<<16 {
		t.Errorf("%#x", got)
	}
}

func TestXFeatures(t *testing.T) {
	x := make([]byte, 576)
	binary.LittleEndian.PutUint64(x[512:], 7)
	p := Process{Threads: []Thread{{XState: x}, {XState: []byte{1}}}}
	if got := p.XFeatures(); got != 7 {
		t.Errorf("%#x", got)
	}
}
