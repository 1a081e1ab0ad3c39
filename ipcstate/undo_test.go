package ipcstate

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// model is one semaphore and one adjustment of it, as the kernel treats them
// (Linux ipc/sem.c:perform_atomic_semop_slow, v6.18).
type model struct{ value, adjustment int }

// do performs operations together or not at all.
func (m *model) do(ops []byte) error {
	now := *m
	for ; len(ops) > 0; ops = ops[opSize:] {
		by := int(int16(binary.LittleEndian.Uint16(ops[2:])))
		flags := binary.LittleEndian.Uint16(ops[4:])
		if flags&ipcNoWait == 0 {
			return errors.New("may wait")
		}
		if by == 0 && now.value != 0 || now.value+by < 0 {
			return unix.EAGAIN
		}
		if now.value += by; now.value > maxValue {
			return unix.ERANGE
		}
		if flags&semUndo != 0 {
			if now.adjustment -= by; now.adjustment < minAdjust || now.adjustment > maxValue {
				return unix.ERANGE
			}
		}
	}
	*m = now
	return nil
}

// edges are values and adjustments of interest, and some others.
func edges() (values, adjustments []int) {
	values = []int{0, 1, 2, maxValue / 2, maxValue/2 + 1, maxValue - 1, maxValue}
	adjustments = []int{minAdjust, minAdjust + 1, -maxValue / 2, -2, -1, 0, 1, 2, maxValue / 2, maxValue - 1, maxValue}
	for range 20 {
		values = append(values, rand.IntN(maxValue+1))
		adjustments = append(adjustments, minAdjust+rand.IntN(maxValue-minAdjust+1))
	}
	return values, adjustments
}

// TestProbes checks that a probe tells what it is meant to tell, and that it
// can never succeed, not even with values it does not expect.
func TestProbes(t *testing.T) {
	values, adjustments := edges()
	for _, v := range values {
		for _, a := range adjustments {
			m := &model{v, a}
			expect := func(what string, ops []byte, inRange bool) {
				want := error(unix.ERANGE)
				if inRange {
					want = unix.EAGAIN
				}
				if err := m.do(append(ops, impossible(0)...)); err != want {
					t.Errorf("value %d, adjustment %d: %s: %v", v, a, what, err)
				}
			}
			expect("is zero", isZero(0, v), a == 0)
			for _, n := range adjustments {
				expect("at least", atLeast(0, v, n), a >= n)
			}
			for _, other := range values {
				if m.do(append(isZero(0, other), impossible(0)...)) == nil || m.do(append(atLeast(0, other, a), impossible(0)...)) == nil {
					t.Errorf("value %d, adjustment %d: a probe for value %d succeeds", v, a, other)
				}
			}
		}
	}
}

// TestAdjust checks that operations give an adjustment and keep the value.
func TestAdjust(t *testing.T) {
	values, adjustments := edges()
	for _, v := range values {
		for _, a := range adjustments {
			m := &model{value: v}
			for _, ops := range adjust(Adjustment{By: a}, v) {
				if err := m.do(ops); err != nil {
					t.Errorf("value %d, adjustment %d: %v", v, a, err)
				}
			}
			if *m != (model{v, a}) {
				t.Errorf("value %d, adjustment %d: %+v", v, a, *m)
			}
			if err := m.do(nothing(0, v)); err != nil || *m != (model{v, a}) {
				t.Errorf("value %d: %v", v, err)
			}
		}
	}
}
