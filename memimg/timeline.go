package memimg

import "time"

// Timeline measures the phases of a snapshot for its manifest. The zero
// Timeline begins with its first phase.
type Timeline struct {
	Phases []Phase

	begin time.Time
	open  bool
}

// Begin ends the current phase and begins another.
func (t *Timeline) Begin(name string) {
	if t.begin.IsZero() {
		t.begin = time.Now()
	}
	t.End()
	t.Phases = append(t.Phases, Phase{Name: name, Start: time.Since(t.begin)})
	t.open = true
}

// End ends the current phase.
func (t *Timeline) End() {
	if !t.open {
		return
	}
	last := &t.Phases[len(t.Phases)-1]
	last.Duration = time.Since(t.begin) - last.Start
	t.open = false
}
