#include "textflag.h"

// ringProbe counts the free slots of rings of asynchronous I/O: it takes them
// all with requests that are done at once, and then takes the events of these
// out of the rings again. Called by a row of the parasite's table (callRow).
//
// In:  SI control block, 96 bytes (ring.go writes it):
//         0 gate, 32 bits: nonzero says to do nothing; nonzero is left in it
//         8 number of CPU masks     16 the masks, one after the other
//        24 size of a mask, 0 for none: stay on this CPU
//        32 the mask to leave behind
//        40 number of rings         48 rings: {context, events, taken, -} each
//        56 a request               64 pointers to it
//        72 number of pointers      80 result
//        88 room
//      SP a stack; BX, R12, R13 and R14 are the parasite's
// Out: AX the result, 0 or -errno; taken of each ring. Clobbers the rest.
TEXT ·ringProbe(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ  SI, R8
	MOVL  0(R8), AX
	TESTL AX, AX
	JNZ   out
	MOVL  $290, AX           // eventfd2(1, 0): is ready at once
	MOVL  $1, DI
	XORL  SI, SI
	SYSCALL
	MOVQ  AX, 80(R8)
	TESTQ AX, AX
	JS    open
	MOVQ  56(R8), CX
	MOVL  AX, 20(CX)         // aio_fildes

	// Take what is free, on each CPU: every one has some to itself.
	MOVQ  8(R8), R9
	MOVQ  16(R8), R10

cpu:
	CMPQ  24(R8), $0
	JEQ   here
	MOVL  $203, AX           // sched_setaffinity(0, size, mask)
	XORL  DI, DI
	MOVQ  24(R8), SI
	MOVQ  R10, DX
	SYSCALL
	ADDQ  24(R8), R10

here:
	MOVQ  48(R8), R15
	MOVQ  40(R8), CX
	MOVQ  CX, 88(R8)

fill:
	MOVL  $209, AX           // io_submit(context, number, requests)
	MOVQ  0(R15), DI
	MOVQ  72(R8), SI
	MOVQ  64(R8), DX
	SYSCALL
	TESTQ AX, AX
	JLE   full
	ADDQ  AX, 16(R15)
	JMP   fill

full:
	ADDQ  $32, R15
	DECQ  88(R8)
	JNZ   fill
	DECQ  R9
	JG    cpu
	CMPQ  24(R8), $0
	JEQ   settle
	MOVL  $203, AX
	XORL  DI, DI
	MOVQ  24(R8), SI
	MOVQ  32(R8), DX
	SYSCALL

	// Take the events out again: those of others move up to the tail. And turn
	// the rings on until all is where it was.
settle:
	MOVQ  48(R8), R15
	MOVQ  40(R8), CX
	MOVQ  CX, 88(R8)

turn:
	MOVQ  8(R15), R9         // events in the ring
	MOVQ  R9, R10
	SUBQ  16(R15), R10       // missing to a whole turn
	CMPQ  16(R15), $0
	JEQ   turned

pack:
	MOVQ  0(R15), DI
	MOVL  12(DI), CX         // tail: where to read
	MOVQ  CX, DX             // where to write
	MOVL  8(DI), SI          // head

scan:
	CMPQ  CX, SI
	JEQ   packed
	TESTQ CX, CX
	JNZ   read
	MOVQ  R9, CX

read:
	DECQ  CX
	MOVQ  CX, R11
	SHLQ  $5, R11
	ADDQ  DI, R11
	MOVQ  40(R11), AX        // obj
	CMPQ  AX, 56(R8)
	JEQ   scan
	TESTQ DX, DX
	JNZ   write
	MOVQ  R9, DX

write:
	DECQ  DX
	CMPQ  DX, CX
	JEQ   scan
	MOVQ  DX, AX
	SHLQ  $5, AX
	ADDQ  DI, AX
	PUSHQ 32(R11)
	POPQ  32(AX)
	PUSHQ 40(R11)
	POPQ  40(AX)
	PUSHQ 48(R11)
	POPQ  48(AX)
	PUSHQ 56(R11)
	POPQ  56(AX)
	JMP   scan

packed:
	MOVL  DX, 8(DI)          // head
	TESTQ R10, R10
	JLE   turned
	MOVQ  72(R8), SI
	CMPQ  R10, SI
	JGE   more
	MOVQ  R10, SI

more:
	MOVL  $209, AX
	MOVQ  64(R8), DX
	SYSCALL
	TESTQ AX, AX
	JLE   turned
	SUBQ  AX, R10
	JMP   pack

turned:
	ADDQ  $32, R15
	DECQ  88(R8)
	JNZ   turn
	MOVL  $3, AX             // close(eventfd)
	MOVQ  80(R8), DI
	SYSCALL
	MOVQ  $0, 80(R8)

open:
	MOVL  $1, 0(R8)
	MOVL  $202, AX           // futex(gate, FUTEX_WAKE, all)
	MOVQ  R8, DI
	MOVL  $1, SI
	MOVL  $0x7fffffff, DX
	SYSCALL

out:
	MOVQ  80(R8), AX
	RET
	LONG  $0x5359454b        // marker
	LONG  $0x444e4521

DATA ·ringProbeStart+0(SB)/8, $·ringProbe(SB)
GLOBL ·ringProbeStart(SB), RODATA|NOPTR, $8
