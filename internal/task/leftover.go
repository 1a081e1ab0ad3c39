package task

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// CutLeftovers takes the parasites of killed supervisors out of a layout.
// Infect removes them from the process. They are known by their code: naming
// a mapping needs CONFIG_ANON_VMA_NAME, which many kernels lack.
//
// A thread may still be on its way home: it has not been scheduled since, or
// a signal was delivered to it on the way and its handler will return there.
// Then the error is a *StuckError: let the tree run, and try again.
func (p *Process) CutLeftovers(vmas []procfs.VMA) ([]procfs.VMA, error) {
	p.leftovers, p.attached = nil, nil
	var kept []procfs.VMA
	for i := 0; i < len(vmas); i++ {
		if p.isParasite(vmas, i) {
			p.leftovers = append(p.leftovers, vmas[i], vmas[i+1])
			for i++; isBehind(vmas, i+1); i++ {
				p.attached = append(p.attached, vmas[i+1])
			}
			continue
		}
		kept = append(kept, vmas[i])
	}
	places, err := p.leftoverCode(vmas)
	if err != nil || len(places) == 0 {
		return kept, err
	}
	for _, t := range p.Threads {
		if t.returnsTo(places, vmas) {
			return kept, &StuckError{PID: p.PID, TID: t.TID, Leftover: true}
		}
	}
	return kept, nil
}

// place is a range of addresses with code of a killed supervisor.
type place struct{ start, end Addr }

func (l place) has(a Addr) bool { return a >= l.start && a < l.end }

// leftoverCode lists such places: the parasites found, and bootstrap code.
func (p *Process) leftoverCode(vmas []procfs.VMA) ([]place, error) {
	var places []place
	for i := 0; i < len(p.leftovers); i += 2 {
		places = append(places, place{Addr(p.leftovers[i].Start), Addr(p.leftovers[i].End)})
	}
	rooms, err := p.rooms(vmas)
	for _, r := range rooms {
		if r.taken {
			places = append(places, place{r.at, r.at + slackSize})
		}
	}
	return places, err
}

// returnsTo tells whether the thread is at one of the places, or has an
// address there on its stack, as the frame of a signal handler has.
func (t *Thread) returnsTo(places []place, vmas []procfs.VMA) bool {
	const most = 1 << 20 // of stack
	in := func(a Addr) bool {
		return slices.ContainsFunc(places, func(l place) bool { return l.has(a) })
	}
	if in(t.Regs.PC()) {
		return true
	}
	sp := t.Regs.SP() &^ 7
	for i := range vmas {
		if Addr(vmas[i].Start) > sp || Addr(vmas[i].End) <= sp {
			continue
		}
		stack := make([]byte, min(Addr(vmas[i].End)-sp, most))
		if Read(t.Proc.PID, stack, sp) != nil {
			return false // not a stack that a signal could have used
		}
		for ; len(stack) >= 8; stack = stack[8:] {
			if in(Addr(binary.LittleEndian.Uint64(stack))) {
				return true
			}
		}
	}
	return false
}

// isParasite tells whether vmas[i] and its neighbour are a parasite's code
// and data. Both are still untouched when the supervisor was killed between
// their mapping and the writing of the code.
func (p *Process) isParasite(vmas []procfs.VMA, i int) bool {
	v := &vmas[i]
	if v.Write || !v.Exec || v.Path != "" || v.Len() != codeSize || i+1 == len(vmas) {
		return false
	}
	next := &vmas[i+1]
	if next.Start != v.End || next.Len() != dataSize || !next.Write || next.Path != "" {
		return false
	}
	content := make([]byte, parasiteSpan)
	if Read(p.PID, content, Addr(v.Start)) != nil {
		return false
	}
	return bytes.HasPrefix(content, parasiteCode) || len(bytes.Trim(content, "\x00")) == 0
}

// isBehind tells whether vmas[i] was attached by AttachBehind or mapped by mapBehind.
func isBehind(vmas []procfs.VMA, i int) bool {
	return i < len(vmas) && vmas[i].Start == vmas[i-1].End &&
		(strings.HasPrefix(vmas[i].Path, "/SYSV") || strings.HasPrefix(vmas[i].Path, "/dev/zero"))
}

func (p *Process) unmapLeftovers() error {
	var b Batch
	for _, list := range [][]procfs.VMA{p.leftovers, p.attached} {
		for i := range list {
			b.Add(unix.SYS_MUNMAP, list[i].Start, list[i].Len())
		}
	}
	p.leftovers, p.attached = nil, nil
	return p.Run(&b)
}
