package taskstate

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"

	"supervise/internal/task"
)

// Registers are the general registers in the kernel's order (struct
// user_regs_struct), little-endian: already those the thread is to start with
// in a new process. An interrupted call is left to the kernel to restart, as
// it does after any stop, so that pending signals interrupt it as they should.
type Registers []byte

// MarshalJSON writes hexadecimal, for inspect.
func (r Registers) MarshalJSON() ([]byte, error) {
	return json.Marshal(hex.EncodeToString(r))
}

// callText is how much code before the program counter is looked at to tell
// which call was being restarted.
const callText = 16

func captureRegisters(c *threadCapture) error {
	text := make([]byte, callText)
	if err := task.Read(c.held.Proc.PID, text, c.held.Regs.PC()-callText); err != nil {
		text = nil // nothing before it can be read; the arguments have to do
	}
	regs := c.held.Regs.Restarted(text)
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, regs); err != nil {
		return err
	}
	c.rec.Registers, c.rec.Mask = b.Bytes(), c.held.Mask
	state, err := c.held.XState()
	c.rec.XState = bytes.TrimRight(state, "\x00")
	return err
}

// Decode gives the registers one by one.
func (r Registers) Decode() (regs task.Regs, err error) {
	if n, err := binary.Decode(r, binary.LittleEndian, &regs); err != nil || n != len(r) {
		return regs, errors.New("register record has the wrong size")
	}
	return regs, nil
}

func restoreRegisters(r *threadRestore) error {
	regs, err := r.rec.Registers.Decode()
	if err != nil {
		return err
	}
	if err := r.held.SetXState(r.rec.XState); err != nil {
		return err
	}
	r.held.Regs, r.held.Mask = regs, r.rec.Mask
	return nil
}

// XFeatures are the components of the extended state that are in use: XSTATE_BV
// of the XSAVE header (Intel SDM volume 1, section 13.4.2).
func (rec *Process) XFeatures() uint64 {
	const header = 512
	var used uint64
	for i := range rec.Threads {
		if x := rec.Threads[i].XState; len(x) >= header+8 {
			used |= binary.LittleEndian.Uint64(x[header:])
		}
	}
	return used
}
