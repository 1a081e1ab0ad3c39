package task

import (
	"encoding/binary"
	"syscall"
)

// Siginfo is siginfo_t as the kernel keeps it for a queued signal.
type Siginfo [siginfoSize]byte

// Signal is si_signo.
func (s *Siginfo) Signal() syscall.Signal {
	return syscall.Signal(binary.LittleEndian.Uint32(s[0:]))
}

// Code is si_code: who sent it (man 2 sigaction).
func (s *Siginfo) Code() int32 { return int32(binary.LittleEndian.Uint32(s[8:])) }

// sender is si_pid: who sent it or, for waitid(2), whom it is about.
func (s *Siginfo) sender() int32 { return int32(binary.LittleEndian.Uint32(s[16:])) }

// lost tells whether the kernel had no room for what it knew of the signal: the
// program has more signals pending than its limit (Linux
// kernel/signal.c:collect_signal, v6.18).
func (s *Siginfo) lost() bool { return s.Code() == 0 && s.sender() == 0 }

// siTkill is the si_code of tgkill(2).
const siTkill = -6

// bit is a signal's place in a 64-bit signal set.
func bit(sig syscall.Signal) uint64 { return 1 << (sig - 1) }

// allSignals blocks everything that can be blocked.
const allSignals = ^uint64(0)

// harmless are the signals whose default is to be ignored, least used first.
// SIGCHLD is last: it is the one most likely to be pending for a reason.
var harmless = []syscall.Signal{syscall.SIGURG, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGCHLD}

// harmlessSignal picks a harmless signal that is in none of the given sets,
// or 0.
func harmlessSignal(used uint64) syscall.Signal {
	for _, sig := range harmless {
		if used&bit(sig) == 0 {
			return sig
		}
	}
	return 0
}

// peekAll reads a whole queue of pending signals.
func peekAll(tid TID, shared bool) ([]Siginfo, error) {
	var all []Siginfo
	var some [32]Siginfo
	for {
		n, err := peekSiginfo(tid, shared, uint64(len(all)), some[:])
		if err != nil {
			return nil, goneErr("peek pending signals of", tid, err)
		}
		all = append(all, some[:n]...)
		if n < len(some) {
			return all, nil
		}
	}
}

// set is the signal set of the given queue.
func set(queue []Siginfo) uint64 {
	var s uint64
	for i := range queue {
		s |= bit(queue[i].Signal())
	}
	return s
}
