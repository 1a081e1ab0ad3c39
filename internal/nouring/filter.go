// Package nouring has the seccomp filter of `supervise run --no-io-uring`, which
// makes a program believe that this kernel has no io_uring(7), so that it uses
// what can be captured. It is always the same, byte for byte: where filters
// cannot be read back, it is known without.
package nouring

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// insn is struct sock_filter.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// instructions answer ENOSYS to io_uring_setup and allow all else. Its number is
// the same for every architecture and ABI of the kernel, but for the bit that
// x32 sets (Linux arch/x86/entry/syscalls, v6.18). They are in images: never
// change them.
var instructions = []insn{
	{unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, 0, 0, 0}, // seccomp_data.nr
	{unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, 0, 0, ^uint32(x32Bit)},
	{unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, 0, 1, unix.SYS_IO_URING_SETUP},
	{unix.BPF_RET | unix.BPF_K, 0, 0, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	{unix.BPF_RET | unix.BPF_K, 0, 0, unix.SECCOMP_RET_ALLOW},
}

const x32Bit = 0x40000000 // __X32_SYSCALL_BIT

// program is the filter as the kernel takes it.
var program = func() []byte {
	var b []byte
	for _, i := range instructions {
		b = binary.LittleEndian.AppendUint16(b, i.code)
		b = append(b, i.jt, i.jf)
		b = binary.LittleEndian.AppendUint32(b, i.k)
	}
	return b
}()

// Program is the filter: an array of struct sock_filter.
func Program() []byte { return slices.Clone(program) }
