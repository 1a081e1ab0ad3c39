package procfs

import "testing"

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string][]int{"0\n": {0}, "0-3\n": {0, 1, 2, 3}, "0,2-3,8\n": {0, 2, 3, 8}} {
		check(t, text, must(parseCPUs([]byte(text)))(t), want)
	}
	for _, text := range []string{"", "\n", "0-\n", "3-1\n", "0,\n", "x\n", "0-99999999999\n", "0 1\n"} {
		if cpus, err := parseCPUs([]byte(text)); err == nil {
			t.Errorf("%q gave %v", text, cpus)
		}
	}
	if len(must(CPUs("possible"))(t)) == 0 {
		t.Error("no CPUs are possible")
	}
}
