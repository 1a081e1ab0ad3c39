package taskstate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Action is what a process does on a signal: struct kernel_sigaction. Signals
// with the default action and no flags are left out of the image.
type Action struct {
	Signal   int       `cbor:"1,keyasint" json:"signal"`
	Handler  uint64    `cbor:"2,keyasint" json:"handler"` // 0 default, 1 ignore
	Flags    uint64    `cbor:"3,keyasint" json:"flags"`
	Restorer task.Addr `cbor:"4,keyasint" json:"restorer"`
	Mask     uint64    `cbor:"5,keyasint" json:"mask"`
}

const (
	signals       = 64
	sigactionSize = 32 // handler, flags, restorer, mask
)

func catchable(sig int) bool {
	return sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP)
}

func captureActions(c *capture) error {
	for sig := 1; sig <= signals; sig++ {
		if !catchable(sig) {
			continue
		}
		buf := make([]byte, sigactionSize)
		c.batch.Add(unix.SYS_RT_SIGACTION, sig, 0, buf, 8)
		c.later = append(c.later, func() {
			if a := decodeAction(sig, buf); a != (Action{Signal: sig}) {
				c.rec.Actions = append(c.rec.Actions, a)
			}
		})
	}
	return nil
}

func restoreActions(r *restore) error {
	want := make(map[int]Action, len(r.rec.Actions))
	for _, a := range r.rec.Actions {
		want[a.Signal] = a
	}
	for sig := 1; sig <= signals; sig++ {
		if catchable(sig) {
			a := want[sig]
			r.batch.Add(unix.SYS_RT_SIGACTION, sig, a.encode(), 0, 8)
		}
	}
	return nil
}

func decodeAction(sig int, b []byte) Action {
	return Action{
		Signal:   sig,
		Handler:  binary.LittleEndian.Uint64(b[0:]),
		Flags:    binary.LittleEndian.Uint64(b[8:]),
		Restorer: task.Addr(binary.LittleEndian.Uint64(b[16:])),
		Mask:     binary.LittleEndian.Uint64(b[24:]),
	}
}

func (a Action) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, a.Handler)
	b = binary.LittleEndian.AppendUint64(b, a.Flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Restorer))
	return binary.LittleEndian.AppendUint64(b, a.Mask)
}

// PlainHandlers tells whether any handler does not run on the alternate stack.
func (rec *Process) PlainHandlers() bool {
	const onStack = 0x08000000 // SA_ONSTACK (Linux arch/x86/include/uapi/asm/signal.h)
	for _, a := range rec.Actions {
		if a.Handler > 1 && a.Flags&onStack == 0 {
			return true
		}
	}
	return false
}
