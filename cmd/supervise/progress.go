package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"supervise/plugins"
)

// patience is how long an operation may take before people want to see that it
// goes on.
const patience = time.Second

// progress shows on a terminal how far an operation is that takes longer than
// patience.
type progress struct {
	w     io.Writer // nil shows nothing
	start time.Time
	quit  chan struct{} // closed by end
	drawn chan struct{} // closed when nothing more is drawn

	mu          sync.Mutex
	verb        string // what is being done
	done, total int64  // bytes
}

// newProgress begins an operation.
func (o *output) newProgress(verb string) *progress {
	p := &progress{verb: verb, start: time.Now(), quit: make(chan struct{}), drawn: make(chan struct{})}
	if o.terminal {
		p.w = o.stderr
		go p.draw(o.stderr)
	}
	return p
}

// draw keeps a line up to date until the end.
func (p *progress) draw(w io.Writer) {
	const every = 200 * time.Millisecond
	defer close(p.drawn)
	shown := 0
	for next := time.After(patience); ; next = time.After(every) {
		select {
		case <-p.quit:
			if shown > 0 {
				fmt.Fprintf(w, "\r%*s\r", shown, "")
			}
			return
		case <-next:
		}
		p.mu.Lock()
		line := progressLine(p.verb, p.done, p.total, time.Since(p.start))
		p.mu.Unlock()
		fmt.Fprintf(w, "\r%-*s", shown, line)
		shown = len(line)
	}
}

// update tells how many bytes of how many are done. It may be called by several
// goroutines.
func (p *progress) update(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
}

// hook tells which phase begins, and then next, which may be nil.
func (p *progress) hook(next plugins.Hook) plugins.Hook {
	return func(phase plugins.Phase) error {
		p.mu.Lock()
		p.verb = phaseVerbs[phase]
		p.mu.Unlock()
		if next == nil {
			return nil
		}
		return next(phase)
	}
}

// endAtRelease removes the line before the program may write to the terminal.
func (p *progress) endAtRelease(phase plugins.Phase) error {
	if phase == plugins.Release {
		p.end()
	}
	return nil
}

// phaseVerbs tell people what goes on.
var phaseVerbs = map[plugins.Phase]string{
	plugins.Discover: "preparing",
	plugins.Freeze:   "stopping the tree",
	plugins.Survey:   "looking at the tree",
	plugins.Capture:  "reading state",
	plugins.Memory:   "writing memory",
	plugins.Thaw:     "letting the tree go on",
	plugins.Commit:   "waiting for the disk",
	plugins.Plan:     "reading the snapshot",
	plugins.Builder:  "preparing",
	plugins.Skeleton: "making processes",
	plugins.Files:    "opening files",
	plugins.Fill:     "reading memory",
	plugins.Threads:  "making threads",
	plugins.Release:  "letting the tree go",
}

// end removes the line. It may be called again.
func (p *progress) end() {
	if p.w == nil {
		return
	}
	p.w = nil
	close(p.quit)
	<-p.drawn
}

// progressLine tells how much is done, how fast, and how long it will take.
func progressLine(verb string, done, total int64, took time.Duration) string {
	if total <= 0 || done <= 0 || done >= total {
		return fmt.Sprintf("supervise: %s (%v)", verb, took.Round(time.Second))
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
