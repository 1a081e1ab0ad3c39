package fdstate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newPty gives both sides of a pty with a mode.
func newPty(t *testing.T, change func(*unix.Termios)) *ptySides {
	t.Helper()
	p := &ptySides{}
	p.master, p.slave = openPty()
	t.Cleanup(func() {
		unix.Close(p.master)
		unix.Close(p.slave)
	})
	p.mode = *must(unix.IoctlGetTermios(p.slave, unix.TCGETS2))
	if change != nil {
		change(&p.mode)
	}
	check(p.set(p.mode))
	return p
}

func raw(m *unix.Termios) {
	m.Iflag, m.Oflag, m.Lflag = 0, 0, 0
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 5, 1
}

func noEcho(m *unix.Termios) { m.Lflag &^= unix.ECHO }

// input waits until n bytes can be read from the slave.
func (p *ptySides) input(n int) {
	check(until("input", func() (bool, error) {
		got, err := p.taken(p.slave)
		return got >= n, err
	}))
}

// settled lets the kernel process what has been written.
func settled() { time.Sleep(10 * time.Millisecond) }

// ptyCases bring a pty into a state; want is what exchange must find, and
// check, if there is one, looks at the pty after it.
var ptyCases = []struct {
	name  string
	mode  func(*unix.Termios)
	setUp func(p *ptySides)
	want  PtyQueue
	check func(t *testing.T, p *ptySides)
}{
	{name: "empty", setUp: func(*ptySides) {}},
	{name: "raw input", mode: raw, setUp: func(p *ptySides) {
		must(unix.Write(p.master, []byte("a\r\x03\x04\x00\n")))
		p.input(6)
	}, want: PtyQueue{Lines: []PtyLine{{Data: []byte("a\r\x03\x04\x00\n")}}}},
	{name: "output", setUp: func(p *ptySides) { must(unix.Write(p.slave, []byte("one\ntwo"))) },
		want: PtyQueue{Output: []byte("one\r\ntwo")}},
	{name: "lines", mode: noEcho, setUp: func(p *ptySides) {
		must(unix.Write(p.master, []byte("one\ntwo\x04\x04\nha\x7felf \x16\x03")))
		p.input(8)
		settled()
	}, want: PtyQueue{Lines: []PtyLine{{[]byte("one\n"), true}, {[]byte("two"), true}, {nil, true}, {[]byte("\n"), true}, {[]byte("helf \x03"), false}}},
		check: func(t *testing.T, p *ptySides) {
			must(unix.Write(p.master, []byte("\x7f\x7fx\n"))) // the half line can still be erased
			p.input(14)
			for _, want := range []string{"one\n", "two", "", "\n", "helfx\n"} {
				buf := make([]byte, 100)
				if n := must(unix.Read(p.slave, buf)); string(buf[:n]) != want {
					t.Errorf("read %q, want %q", buf[:n], want)
				}
			}
		}},
	{name: "echo", setUp: func(p *ptySides) {
		must(unix.Write(p.master, []byte("x\ny")))
		p.input(2)
		settled()
	}, want: PtyQueue{Lines: []PtyLine{{[]byte("x\n"), true}, {[]byte("y"), false}}, Output: []byte("x\r\ny")}},
	{name: "typed stop", setUp: func(p *ptySides) {
		must(unix.Write(p.slave, []byte("before")))
		must(unix.Write(p.master, []byte{0x13}))
		settled()
	}, want: PtyQueue{Output: []byte("before"), Halt: ptyTyped}, check: func(t *testing.T, p *ptySides) {
		must(unix.Write(p.master, []byte{0x11}))
		check(until("start", p.runs))
	}},
	{name: "tcflow", setUp: func(p *ptySides) {
		must(unix.Write(p.slave, []byte("before")))
		check(unix.IoctlSetInt(p.slave, unix.TCXONC, unix.TCOOFF))
	}, want: PtyQueue{Output: []byte("before"), Halt: ptyHalted}, check: func(t *testing.T, p *ptySides) {
		must(unix.Write(p.master, []byte{0x11}))
		settled()
		if must(p.runs()) {
			t.Error("a start character has undone tcflow")
		}
	}},
	{name: "packet", setUp: func(p *ptySides) {
		check(unix.IoctlSetPointerInt(p.master, unix.TIOCPKT, 1))
		must(unix.Write(p.slave, []byte("data")))
	}, want: PtyQueue{Output: []byte("data")}, check: func(t *testing.T, p *ptySides) {
		buf := make([]byte, 100)
		if n := must(unix.Read(p.master, buf)); string(buf[:n]) != "\x00data" {
			t.Errorf("read %q", buf[:n])
		}
	}},
}

// TestPtyQueue wants the same found twice: taken out, put back, taken out; and
// put into another pty, as a restart does.
func TestPtyQueue(t *testing.T) {
	for _, c := range ptyCases {
		t.Run(c.name, func(t *testing.T) {
			p := newPty(t, c.mode)
			c.setUp(p)
			for range 2 {
				if got := must(p.exchange()); !reflect.DeepEqual(got, c.want) {
					t.Fatalf("got  %+v\nwant %+v", got, c.want)
				}
			}
			if c.check != nil {
				c.check(t, p)
			}
			other := newPty(t, c.mode)
			if c.name == "packet" {
				check(unix.IoctlSetPointerInt(other.master, unix.TIOCPKT, 1))
			}
			check(other.fill(&c.want))
			if c.check != nil {
				c.check(t, other)
			} else if got := must(other.exchange()); !reflect.DeepEqual(got, c.want) {
				t.Fatalf("in another pty %+v", got)
			}
			if mode := *must(unix.IoctlGetTermios(p.slave, unix.TCGETS2)); mode != p.mode {
				t.Errorf("mode %+v, was %+v", mode, p.mode)
			}
		})
	}
}

// TestFullPty fills both directions to the brim.
func TestFullPty(t *testing.T) {
	for _, size := range []int{1, 257, 1000, -1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := newPty(t, raw)
			for _, side := range []int{p.master, p.slave} {
				check(unix.SetNonblock(side, true))
				for i := byte(0); ; i++ {
					n := size
					if size < 0 {
						n = 1 + rand.IntN(2000)
					}
					if got, _ := unix.Write(side, bytes.Repeat([]byte{i}, n)); got < n {
						break
					}
					if i < 3 {
						settled()
					}
				}
				check(unix.SetNonblock(side, false))
			}
			settled()
			first := must(p.exchange())
			if len(first.Output) < 10000 || len(first.Lines[0].Data) != ptyRoom || len(first.Later) < 5000 {
				t.Fatalf("%d bytes of output, %d of input, %d later", len(first.Output), len(first.Lines[0].Data), len(first.Later))
			}
			if again := must(p.exchange()); !reflect.DeepEqual(again, first) {
				t.Errorf("%d bytes of output, %d of input, %d later", len(again.Output), len(again.Lines[0].Data), len(again.Later))
			}
		})
	}
}
