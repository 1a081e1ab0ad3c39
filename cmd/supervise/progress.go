package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// patience is how long an operation may take before people want to see that it
// goes on.
const patience = time.Second

// progress shows on a terminal how far an operation is that takes longer than
// patience. The zero progress shows nothing.
type progress struct {
	w     io.Writer // nil shows nothing
	verb  string
	start time.Time

	mu    sync.Mutex
	last  time.Time
	shown int // length of the line that stands there
}

// newProgress begins an operation.
func (o *output) newProgress(verb string) *progress {
	p := &progress{verb: verb, start: time.Now()}
	if o.terminal {
		p.w = o.stderr
	}
	return p
}

// update tells how many bytes of how many are done. It may be called by several
// goroutines.
func (p *progress) update(done, total int64) {
	const every = 200 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.w == nil || now.Sub(p.start) < patience || now.Sub(p.last) < every {
		return
	}
	p.last = now
	line := progressLine(p.verb, done, total, now.Sub(p.start))
	fmt.Fprintf(p.w, "\r%-*s", p.shown, line)
	p.shown = len(line)
}

// end removes the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.shown, "")
		p.shown = 0
	}
	p.w = nil
}

// progressLine tells how much is done, how fast, and how long it will take.
func progressLine(verb string, done, total int64, took time.Duration) string {
	if total <= 0 || done <= 0 {
		return fmt.Sprintf("supervise: %s %s", verb, byteCount(done))
	}
	left := time.Duration(float64(took) / float64(done) * float64(total-done))
	return fmt.Sprintf("supervise: %s %s of %s (%d %%), %s/s, %s left", verb, byteCount(done), byteCount(total),
		100*done/total, byteCount(int64(float64(done)/took.Seconds())), left.Round(time.Second))
}

// byteCount writes a number of bytes for people.
func byteCount(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < len("KMGTPE")-1; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[i])
}
