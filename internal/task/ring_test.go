package task

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// requests are what both programs need.
const requests = `
import ctypes, os, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
call = libc.syscall
context = ctypes.c_ulong(0)
assert call(206, 8, ctypes.byref(context)) == 0
fields = [(n, getattr(ctypes, "c_" + t)) for n, t in (f.split(":") for f in
	"data:uint64 key:uint32 flags:uint32 op:uint16 prio:int16 fd:uint32 buf:uint64 size:uint64 at:int64 r:uint64 f:uint32 e:uint32".split())]
Request = type("Request", (ctypes.Structure,), {"_fields_": fields})
def submit(n, **kw):
	r = Request(data=n, **kw)
	assert call(209, context, ctypes.c_long(1), ctypes.byref(ctypes.pointer(r))) == 1
`

// ringProgram has a context of asynchronous I/O with events that wait, and go
// past the end of the ring, and threads that never stop. It prints the address.
// With an argument a request is under way, too.
const ringProgram = requests + `
null = os.open("/dev/null", os.O_RDWR)
events = ctypes.create_string_buffer(32)
for i in range(125):
	submit(i, fd=null)
	assert call(208, context, ctypes.c_long(1), ctypes.c_long(1), events, None) == 1
for i in range(7):
	submit(1000 + i, fd=null)
if sys.argv[1:]:
	submit(9, fd=os.pipe()[0], op=5, buf=1)
def runs():
	while True:
		time.sleep(0.001)
for i in range(3):
	threading.Thread(target=runs).start()
print(context.value, flush=True)
runs()
`

// timersProgram polls timers that expire all the time, and ends when an event is
// missing or is another than those it waits for.
const timersProgram = requests + `
import random
timers = [libc.timerfd_create(1, 0o4000) for i in range(60)]
due = {}
n = 0
got = ctypes.create_string_buffer(32 * 64)
second = struct.pack("qq", 2, 0)
print(context.value, flush=True)
while True:
	for fd in [fd for fd in timers if fd not in due.values()]:
		try:
			os.read(fd, 8)
		except BlockingIOError:
			pass
		libc.timerfd_settime(fd, 0, struct.pack("qqqq", 0, 0, 0, random.randrange(1000, 2000000)), None)
		submit(n, fd=fd, op=5, buf=1)
		due[n] = fd
		n += 1
	k = call(208, context, ctypes.c_long(1), ctypes.c_long(64), got, second)
	if k == -1 and ctypes.get_errno() == 4:
		continue
	if k <= 0:
		sys.exit(f"{len(due)} events are missing")
	for i in range(k):
		data, obj, res, res2 = struct.unpack_from("QQqq", got, 32 * i)
		if res != 1 or due.pop(data, None) is None:
			sys.exit(f"event {data}, result {res}")
`

func startRing(t *testing.T, args ...string) (PID, Ring) {
	t.Helper()
	return startRings(t, ringProgram, args...)
}

func startRings(t *testing.T, program string, args ...string) (PID, Ring) {
	t.Helper()
	pid, line := startProgram(t, "python3", append([]string{"-c", program}, args...)...)
	var at uint64
	if _, err := fmt.Sscan(line, &at); err != nil {
		t.Fatal(err)
	}
	ring := Ring{Addr: Addr(at), Events: 127}
	if b := ring.content(t, pid); binary.LittleEndian.Uint32(b[4:]) != 127 {
		t.Skipf("a ring of %d events: this host has many CPUs", binary.LittleEndian.Uint32(b[4:]))
	}
	return pid, ring
}

// content is the header of the ring, and what waits in it.
func (ring *Ring) content(t *testing.T, pid PID) []byte {
	t.Helper()
	b := make([]byte, RingHeader*128)
	if err := Read(pid, b, ring.Addr); err != nil {
		t.Fatal(err)
	}
	head, tail := binary.LittleEndian.Uint32(b[RingHead:]), binary.LittleEndian.Uint32(b[RingTail:])
	content := b[:RingHeader:RingHeader]
	for ; head%127 != tail; head++ {
		content = append(content, b[(head%127+1)*RingHeader:][:RingHeader]...)
	}
	return content
}

func probe(pid PID, ring Ring, closeGate func(pid PID, gate Addr) error) (idle bool, err error) {
	err = OnThread(func() error {
		tree, err := Freeze([]PID{pid}, 5*time.Second)
		if err != nil {
			return err
		}
		defer tree.Thaw()
		p := tree.Procs[0]
		vmas, err := procfs.ReadMaps(int(pid))
		if err != nil {
			return err
		}
		if vmas, err = p.CutLeftovers(vmas); err != nil {
			return err
		}
		if err := p.Infect(vmas); err != nil {
			return err
		}
		rings := []Ring{ring}
		err = p.probeRings(rings, p.Threads, func(gate Addr) error { return closeGate(pid, gate) })
		idle = rings[0].Idle
		return err
	})
	return idle, err
}

func cpusOf(t *testing.T, pid PID) (set unix.CPUSet) {
	t.Helper()
	if err := unix.SchedGetaffinity(int(pid), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// TestProbeBusyRing probes a ring to which events come all the while.
func TestProbeBusyRing(t *testing.T) {
	pid, ring := startRings(t, timersProgram)
	busy := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		idle, err := probe(pid, ring, closes)
		if err != nil {
			t.Fatal(err)
		}
		if !idle {
			busy++
		}
	}
	time.Sleep(3 * time.Second) // longer than it waits for what is missing
	if st, err := procfs.ReadStat(int(pid)); err != nil || st.State == 'Z' {
		t.Errorf("it has ended: %c, %v", st.State, err)
	}
	if busy < 10 {
		t.Errorf("requests were under way %d times", busy)
	}
	t.Logf("requests were under way %d times", busy)
}

func closes(pid PID, gate Addr) error { return Write(pid, gate, make([]byte, 4)) }

func TestProbeRings(t *testing.T) {
	for _, args := range [][]string{nil, {"under way"}} {
		pid, ring := startRing(t, args...)
		before := ring.content(t, pid)
		was, cpus := layout(t, pid), cpusOf(t, pid)
		for range 20 {
			idle, err := probe(pid, ring, closes)
			if err != nil {
				t.Fatal(err)
			}
			if idle != (args == nil) {
				t.Fatalf("%v: idle %v", args, idle)
			}
		}
		if after := ring.content(t, pid); !bytes.Equal(before, after) {
			t.Errorf("%v: the ring was\n%x\nand is\n%x", args, before, after)
		}
		if now := layout(t, pid); now != was {
			t.Errorf("layout changed:\n%s\nafter:\n%s", was, now)
		}
		if now := cpusOf(t, pid); now != cpus {
			t.Errorf("it ran on CPUs %v, and may run on %v", cpus, now)
		}
		if idle, err := probe(pid, ring, func(PID, Addr) error { return nil }); err != nil || idle {
			t.Errorf("%v: with the gate open: idle %v, %v", args, idle, err)
		}
	}
}

// ringDiesIn says that a second run of this test binary is to die with the gate
// of a probe "open" or "closed", and over which process and ring.
const ringDiesIn = "SUPERVISE_TEST_RING_DIES"

func ringDies() {
	var pid PID
	var at Addr
	var gate string
	if _, err := fmt.Sscan(os.Getenv(ringDiesIn), &pid, &at, &gate); err != nil {
		return
	}
	_, _ = probe(pid, Ring{Addr: at, Events: 127}, func(pid PID, at Addr) error {
		if gate == "closed" {
			_ = closes(pid, at)
		}
		return unix.Kill(os.Getpid(), syscall.SIGKILL)
	})
	os.Exit(1)
}

// TestDeathOverRings kills the tracer with a probe under way: the ring comes out
// as it was, all threads go on, and what is left in the process is found.
func TestDeathOverRings(t *testing.T) {
	pid, ring := startRing(t)
	before := ring.content(t, pid)
	was := layout(t, pid)
	for n := range 20 {
		gate := []string{"open", "closed"}[n%2]
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), ringDiesIn+"="+fmt.Sprint(int(pid), uint64(ring.Addr), gate))
		if err := cmd.Run(); cmd.ProcessState.String() != "signal: killed" {
			t.Fatalf("the tracer: %v", err)
		}
		allRun(t, pid)
		if after := ring.content(t, pid); !bytes.Equal(before, after) {
			t.Fatalf("gate %s: the ring was\n%x\nand is\n%x", gate, before, after)
		}
		if idle, err := probe(pid, ring, closes); err != nil || !idle {
			t.Fatalf("gate %s: after that, idle %v, %v", gate, idle, err)
		}
	}
	if now := layout(t, pid); now != was {
		t.Errorf("layout changed:\n%s\nafter:\n%s", was, now)
	}
}

// allRun wants that each thread goes on and sleeps again, soon.
func allRun(t *testing.T, pid PID) {
	t.Helper()
	tids, err := procfs.Tasks(int(pid))
	if err != nil {
		t.Fatal(err)
	}
	switches := func(tid int) string {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/task/" + strconv.Itoa(tid) + "/status")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
		return after
	}
	for _, tid := range tids {
		was := switches(tid)
		for end := time.Now().Add(10 * time.Second); switches(tid) == was; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("thread %d stands still", tid)
			}
		}
	}
}
