package task

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func errnoResult(e uint64) uint64 { return ^e + 1 }

func TestResumed(t *testing.T) {
	const pc = 0x401000
	for _, test := range []struct {
		name        string
		orig, rax   uint64
		wantRax, ip uint64
	}{
		{"user mode", noSyscall, 42, 42, pc},
		{"finished call", unix.SYS_READ, 5, 5, pc},
		{"failed call", unix.SYS_READ, errnoResult(uint64(unix.EIO)), errnoResult(uint64(unix.EIO)), pc},
		{"interrupted read", unix.SYS_READ, errnoResult(erestartsys), unix.SYS_READ, pc - syscallInsn},
		{"interrupted wait", unix.SYS_WAIT4, errnoResult(erestartnointr), unix.SYS_WAIT4, pc - syscallInsn},
		{"interrupted pause", unix.SYS_PAUSE, errnoResult(erestartnohand), unix.SYS_PAUSE, pc - syscallInsn},
		{"interrupted sleep", unix.SYS_NANOSLEEP, errnoResult(erestartRestartblock), unix.SYS_RESTART_SYSCALL, pc - syscallInsn},
		{"result like an error, no call", noSyscall, errnoResult(erestartsys), errnoResult(erestartsys), pc},
	} {
		r := Regs{Orig_rax: test.orig, Rax: test.rax, Rip: pc}.Resumed()
		if r.Rax != test.wantRax || r.Rip != test.ip || r.Orig_rax != noSyscall {
			t.Errorf("%s: rax %#x rip %#x orig %#x", test.name, r.Rax, r.Rip, r.Orig_rax)
		}
	}
}

func TestRestartedFindsTheCallBehindRestartSyscall(t *testing.T) {
	const pc = 0x401000
	mov := func(nr byte) []byte { return []byte{0x90, 0xb8, nr, 0, 0, 0, 0x0f, 0x05} }
	const ptr = 0x7fff12345678
	for _, test := range []struct {
		name string
		text []byte
		regs Regs
		want uint64
	}{
		{"number in the code", mov(unix.SYS_POLL), Regs{Rdi: ptr, Rsi: ptr}, unix.SYS_POLL},
		{"clock_nanosleep by its clock", nil, Regs{Rdi: 1, Rsi: 0, Rdx: ptr}, unix.SYS_CLOCK_NANOSLEEP},
		{"nanosleep by its remainder", nil, Regs{Rdi: ptr, Rsi: ptr}, unix.SYS_NANOSLEEP},
		{"futex by its operation", nil, Regs{Rdi: ptr, Rsi: 128, Rdx: 7, R10: ptr}, unix.SYS_FUTEX},
		{"poll by its counts", nil, Regs{Rdi: ptr, Rsi: 3, Rdx: 1000}, unix.SYS_POLL},
		{"call of a number that is no wait", mov(1), Regs{Rdi: ptr, Rsi: ptr}, unix.SYS_NANOSLEEP},
	} {
		test.regs.Orig_rax, test.regs.Rax, test.regs.Rip = unix.SYS_RESTART_SYSCALL, errnoResult(erestartRestartblock), pc
		r := test.regs.Restarted(test.text).Resumed()
		if r.Rax != test.want || r.Rip != pc-syscallInsn {
			t.Errorf("%s: call %d at %#x", test.name, r.Rax, r.Rip)
		}
	}
}

func TestSpuriousEINTR(t *testing.T) {
	eintr := errnoResult(uint64(unix.EINTR))
	for nr, want := range map[uint64]bool{unix.SYS_EPOLL_WAIT: true, unix.SYS_SEMOP: true, unix.SYS_RECVFROM: true, unix.SYS_OPEN: false} {
		r := Regs{Orig_rax: nr, Rax: eintr}
		if r.spuriousEINTR() != want {
			t.Errorf("call %d: %v", nr, !want)
		}
	}
}

// TestAssemblerConstants ties the numbers in parasite_amd64.s to Go's.
func TestAssemblerConstants(t *testing.T) {
	text, err := os.ReadFile("parasite_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf("LEAQ  %d(R13), SI", frameMask),
		fmt.Sprintf("MOVQ  AX, %d(BX)", rowResult),
		fmt.Sprintf("ADDQ $%d, BX", rowSize),
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no line %q", line)
		}
	}
	if n := len(appendFrame(nil, Regs{}, 0)); n != frameSize {
		t.Errorf("frame has %d bytes, not %d", n, frameSize)
	}
	if len(parasiteCode) > slackFrame || len(ringProbeCode) > initLoopStartOffset-ringProbeOffset || len(initLoopCode) > PageSize-initLoopStartOffset {
		t.Errorf("blobs have %d, %d and %d bytes", len(parasiteCode), len(ringProbeCode), len(initLoopCode))
	}
}

func TestEncodeTable(t *testing.T) {
	var b Batch
	b.Add(unix.SYS_OPEN, "/x", unix.O_RDONLY, 0)
	out := make([]byte, 3)
	b.Add(unix.SYS_READ, 7, out, Addr(0x10))
	b.Add(unix.SYS_CLONE3, Struct{Bytes: make([]byte, 24), Pointers: []Pointer{{At: 8, To: 16}}}, 24)
	const at = 0x1000
	table := encode(b.calls, Call{Nr: unix.SYS_GETPID}, at, nil)
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(table[off:]) }
	payload := uint64(at + 4*rowSize)
	if word(8) != payload || word(rowSize+16) != payload+16 || word(2*rowSize+8) != payload+32 {
		t.Errorf("buffers at %#x %#x %#x", word(8), word(rowSize+16), word(2*rowSize+8))
	}
	if got := word(4*rowSize + 32 + 8); got != payload+32+16 {
		t.Errorf("pointer %#x", got)
	}
	copy(table[4*rowSize+16:], "abc")
	binary.LittleEndian.PutUint64(table[rowSize+rowResult:], 3)
	decode(b.calls, table)
	if string(out) != "abc" || b.calls[1].Ret != 3 {
		t.Errorf("read %q, %d", out, b.calls[1].Ret)
	}
}
