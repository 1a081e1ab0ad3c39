#include "textflag.h"

// The parasite: runs a table of system calls, then goes home.
//
// In:  BX  first row: {nr, 6 arguments, result}, 64 bytes each (rowSize); a
//          negative nr calls code instead (callRow)
//      R12 number of rows, may be 0
//      R13 frame (frameSize bytes, layout below)
//      R14 nonzero: store results (zero where the table's page is read-only)
//      SP  the program's stack, untouched until the last instructions
// Out: does not return; continues at the frame's registers and signal mask.
//      Clobbers only what the frame brings back. Never touches floating-point
//      state, so that none needs saving.
//
// Frame: 15 general registers in the order of the POPQs below, then what
// IRETQ takes (RIP CS RFLAGS RSP SS), then the signal mask at 160 (frameMask).
// It ends at the marker, which tells parasite.go its length.
TEXT ·parasite(SB), NOSPLIT|NOFRAME, $0-0
	TESTQ R12, R12
	JZ    home

row:
	MOVQ 0(BX), AX
	MOVQ 8(BX), DI
	MOVQ 16(BX), SI
	MOVQ 24(BX), DX
	MOVQ 32(BX), R10
	MOVQ 40(BX), R8
	MOVQ 48(BX), R9
	TESTQ AX, AX
	JS    blob
	SYSCALL

result:
	TESTQ R14, R14
	JZ    next
	MOVQ  AX, 56(BX)

next:
	ADDQ $64, BX
	DECQ R12
	JNZ  row

	JMP  home

blob:                  // callRow: code at the first argument, on the stack below the frame
	MOVQ R13, SP
	CALL DI
	JMP  result

home:
	MOVL  $14, AX      // rt_sigprocmask(SIG_SETMASK, &frame.mask, NULL, 8)
	MOVL  $2, DI
	LEAQ  160(R13), SI
	XORL  DX, DX
	MOVL  $8, R10
	SYSCALL
	MOVQ  R13, SP
	POPQ  R15
	POPQ  R14
	POPQ  R13
	POPQ  R12
	POPQ  BP
	POPQ  BX
	POPQ  R11
	POPQ  R10
	POPQ  R9
	POPQ  R8
	POPQ  AX
	POPQ  CX
	POPQ  DX
	POPQ  SI
	POPQ  DI
	IRETQ
	LONG  $0x5359454b  // marker
	LONG  $0x444e4521

// The init of a new pid namespace: reaps until nothing is left, and passes
// on how the tree's root ended.
//
// In:  R12 pid of the tree's root in this namespace
//      R13 descriptor that gets the root's wait status, 4 bytes, then is closed
//      R14 4 writable bytes
// Out: does not return. When no child is left it exits with the root's exit
//      status, or 128 + signal.
TEXT ·initLoop(SB), NOSPLIT|NOFRAME, $0-0
	XORL BX, BX        // the root's wait status

reap:
	MOVL $61, AX       // wait4(-1, status, __WALL, NULL)
	MOVQ $-1, DI
	MOVQ R14, SI
	MOVL $0x40000000, DX
	XORL R10, R10
	SYSCALL
	CMPQ AX, $-10      // ECHILD: nothing left
	JEQ  done
	CMPQ AX, R12
	JNE  reap
	MOVL (R14), BX
	MOVL $1, AX        // write(fd, status, 4)
	MOVQ R13, DI
	MOVQ R14, SI
	MOVL $4, DX
	SYSCALL
	MOVL $3, AX        // close(fd)
	MOVQ R13, DI
	SYSCALL
	JMP  reap

done:
	MOVL BX, DI
	ANDL $0x7f, DI
	JNZ  killed
	MOVL BX, DI
	SHRL $8, DI
	ANDL $0xff, DI
	JMP  leave

killed:
	ADDL $128, DI

leave:
	MOVL $231, AX      // exit_group
	SYSCALL
	JMP  leave
	LONG $0x5359454b   // marker
	LONG $0x444e4521

// The start addresses as ABI0 sees them: a Go func value would give the
// address of a wrapper.
DATA ·parasiteStart+0(SB)/8, $·parasite(SB)
GLOBL ·parasiteStart(SB), RODATA|NOPTR, $8
DATA ·initLoopStart+0(SB)/8, $·initLoop(SB)
GLOBL ·initLoopStart(SB), RODATA|NOPTR, $8
