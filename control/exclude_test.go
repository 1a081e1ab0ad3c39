package control

import (
	"slices"
	"testing"
)

func TestSubtract(t *testing.T) {
	const k = 0x1000
	have := []Range{{1 * k, 4 * k}, {6 * k, 8 * k}}
	for _, test := range []struct {
		out  Range
		want []Range
	}{
		{Range{4 * k, 6 * k}, have},
		{Range{0, 9 * k}, nil},
		{Range{2 * k, 3 * k}, []Range{{1 * k, 2 * k}, {3 * k, 4 * k}, {6 * k, 8 * k}}},
		{Range{3 * k, 7 * k}, []Range{{1 * k, 3 * k}, {7 * k, 8 * k}}},
		{Range{1 * k, 4 * k}, []Range{{6 * k, 8 * k}}},
	} {
		if got := subtract(have, test.out); !slices.Equal(got, test.want) {
			t.Errorf("less %v: %v, want %v", test.out, got, test.want)
		}
	}
}
