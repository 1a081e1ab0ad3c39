package taskstate

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Speculation is a control over what the cpu may speculate on in a thread (man
// 2 PR_SET_SPECULATION_CTRL).
type Speculation struct {
	Which int   `cbor:"1,keyasint" json:"which"` // PR_SPEC_STORE_BYPASS and on
	Value int64 `cbor:"2,keyasint" json:"value"` // PR_SPEC_ENABLE and on, without PR_SPEC_PRCTL
}

// speculations are all there are (Linux include/uapi/linux/prctl.h, v6.18).
var speculations = []int{unix.PR_SPEC_STORE_BYPASS, unix.PR_SPEC_INDIRECT_BRANCH, unix.PR_SPEC_L1D_FLUSH}

// captureSpeculation keeps those that a thread can control on this host.
func captureSpeculation(c *threadCapture) error {
	for _, which := range speculations {
		get := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, which, 0, 0, 0).Optional()
		c.later = append(c.later, func() {
			if get.Err() == nil && get.Ret&unix.PR_SPEC_PRCTL != 0 {
				c.rec.Speculation = append(c.rec.Speculation, Speculation{which, get.Ret &^ unix.PR_SPEC_PRCTL})
			}
		})
	}
	return nil
}

// restoreSpeculation sets what differs. What a thread has given up for good
// cannot be had back, and needs not: it inherited that.
func restoreSpeculation(r *threadRestore) error {
	for _, s := range r.rec.Speculation {
		have, err := r.held.Call(unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, s.Which, 0, 0, 0)
		if err == nil && have&^unix.PR_SPEC_PRCTL == s.Value {
			continue
		}
		_, err = r.held.Call(unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, s.Which, s.Value, 0, 0)
		if err != nil && s.Value != unix.PR_SPEC_ENABLE {
			return fmt.Errorf("this cpu or kernel cannot keep a thread from speculation %d: %w", s.Which, err)
		}
	}
	return nil
}
