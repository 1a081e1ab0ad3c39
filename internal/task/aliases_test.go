package task

import (
	"encoding/binary"
	"testing"
)

// TestAliases: without any, ids are the kernel's; with, arguments of type ID are put
// into the kernel's numbers, and no others.
func TestAliases(t *testing.T) {
	var none *Aliases
	if none.Kernel(7) != 7 || none.Own(7) != 7 {
		t.Error("aliases without any")
	}
	a := NewAliases([]Alias{{Own: 7, Kernel: 70}, {Own: 9, Kernel: 9}, {Kernel: 5}})
	if a.Kernel(7) != 70 || a.Own(70) != 7 || a.Own(7) != 7 || a.Kernel(9) != 9 || len(a.List()) != 1 {
		t.Errorf("%+v", a)
	}
	if id, clash := a.Clash(); clash {
		t.Errorf("%d clashes", id)
	}
	a.add(70, 71)
	if id, clash := a.Clash(); !clash || id != 70 {
		t.Errorf("clash %d %v", id, clash)
	}
	var b Batch
	b.Add(1, ID(7), 7, ID(8))
	table := encode(b.calls, Call{}, 0, a)
	for i, want := range []uint64{70, 7, 8} {
		if got := binary.LittleEndian.Uint64(table[8*(i+1):]); got != want {
			t.Errorf("argument %d is %d, want %d", i, got, want)
		}
	}
}
