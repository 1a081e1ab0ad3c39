#include "textflag.h"

// sigRelay is a signal handler (SA_SIGINFO|SA_ONSTACK, every signal blocked).
// It writes the siginfo of a signal that was sent to this process into the
// pipe relayFD, and leaves to the Go runtime what is the runtime's.
//
// In:  DI signal number, SI *siginfo, DX *ucontext
//      SP address of the restorer, which calls rt_sigreturn
// Out: returns to the restorer, or jumps to Go's handler with DI, SI, DX as
//      they came. Clobbers what the kernel brings back from the ucontext.
//
// siginfo: si_signo at 0, si_code at 8, si_pid at 16 (Linux
// include/uapi/asm-generic/siginfo.h, v6.12).
TEXT ·sigRelay(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVL  8(SI), AX
	CMPL  AX, $0
	JGT   kernel
	MOVL  16(SI), CX
	CMPL  CX, ·relayPID(SB)
	JEQ   runtime           // preemption, a crash, a write to a closed pipe

relay:
	MOVL  $1, AX            // write(relayFD, siginfo, 128)
	MOVL  ·relayFD(SB), DI
	MOVL  $128, DX
	SYSCALL
	RET

kernel:
	MOVQ  ·runtimeSignals(SB), CX
	MOVL  DI, AX
	DECL  AX
	BTQ   AX, CX
	JCC   relay

runtime:
	MOVQ  ·runtimeHandler(SB), AX
	JMP   AX

// The address of sigRelay itself: a Go func value gives that of a wrapper.
DATA ·sigRelayStart+0(SB)/8, $·sigRelay(SB)
GLOBL ·sigRelayStart(SB), NOPTR|RODATA, $8
