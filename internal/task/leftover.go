package task

import (
	"bytes"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// CutLeftovers takes the parasites of killed supervisors out of a layout.
// Infect removes them from the process. They are known by their code: naming
// a mapping needs CONFIG_ANON_VMA_NAME, which many kernels lack.
func (p *Process) CutLeftovers(vmas []procfs.VMA) []procfs.VMA {
	var kept []procfs.VMA
	for i := 0; i < len(vmas); i++ {
		if p.isParasite(vmas, i) {
			p.leftovers = append(p.leftovers, vmas[i], vmas[i+1])
			i++
			continue
		}
		kept = append(kept, vmas[i])
	}
	return kept
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

func (p *Process) unmapLeftovers() error {
	var b Batch
	for i := range p.leftovers {
		b.Add(unix.SYS_MUNMAP, p.leftovers[i].Start, p.leftovers[i].Len())
	}
	p.leftovers = nil
	return p.Run(&b)
}
