package restorer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"golang.org/x/sys/unix"
)

// checkCPU compares the components of extended state that the tree uses with
// those that this cpu and kernel have: XCR0, which the kernel puts into the
// software bytes of the register set (Linux Documentation/arch/x86/xstate.rst).
func (r *restart) checkCPU() error {
	const xcr0 = 464
	have := uint64(3) // x87 and SSE
	state, err := r.builder.Leader().XState()
	if errors.Is(err, unix.ENODEV) { // without XSAVE (Linux arch/x86/kernel/fpu/regset.c:xstateregs_get, v6.12)
		return &HostError{
			Why:  "the cpu lacks what the tree uses: XSAVE, " + xfeatureNames(r.tree.XFeatures&^have),
			Hint: "restart it on a host with the same cpu features",
		}
	}
	if err != nil {
		return err
	}
	if len(state) >= xcr0+8 {
		have = binary.LittleEndian.Uint64(state[xcr0:])
	}
	missing := r.tree.XFeatures &^ have
	if missing == 0 {
		return nil
	}
	return &HostError{
		Why:  "the cpu lacks what the tree uses: " + xfeatureNames(missing),
		Hint: "restart it on a host with the same cpu features",
	}
}

// xfeatures names the components by bit (Intel SDM volume 1, section 13.1).
var xfeatures = []string{
	"x87", "SSE", "AVX", "MPX bounds", "MPX config", "AVX-512 opmask", "AVX-512 upper ZMM0-15",
	"AVX-512 ZMM16-31", "processor trace", "protection keys", "PASID", "CET user", "CET supervisor",
	"HDC", "user interrupts", "LBR", "HWP", "AMX tile config", "AMX tile data", "APX",
}

func xfeatureNames(set uint64) string {
	var names []string
	for ; set != 0; set &= set - 1 {
		n := bits.TrailingZeros64(set)
		if n < len(xfeatures) {
			names = append(names, xfeatures[n])
		} else {
			names = append(names, fmt.Sprintf("component %d", n))
		}
	}
	return strings.Join(names, ", ")
}
