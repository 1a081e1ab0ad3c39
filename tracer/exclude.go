package tracer

import (
	"supervise/memimg"
)

// excludedOf are the parts of private anonymous mappings that the program does
// not want to be in the snapshot.
func (s *snapshot) excludedOf(p *process) (parts []memimg.Range) {
	if s.opts.Undumped != nil && s.opts.Undumped() {
		for i := range p.vmas {
			if v := &p.vmas[i]; !v.Shared && v.Ino == 0 && v.Flags.Has("dd") {
				parts = append(parts, memimg.Range{Start: v.Start, End: v.End})
			}
		}
	}
	if s.opts.Excluded == nil {
		return parts
	}
	for _, r := range s.opts.Excluded(p.held.PID) {
		for i := range p.vmas {
			v := &p.vmas[i]
			part := memimg.Range{Start: max(r.Start, v.Start), End: min(r.End, v.End)}
			if !v.Shared && v.Ino == 0 && part.Start < part.End {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// leaveOut takes parts out of ranges.
func leaveOut(ranges, parts []memimg.Range) []memimg.Range {
	for _, out := range parts {
		var left []memimg.Range
		for _, r := range ranges {
			if r.End <= out.Start || out.End <= r.Start {
				left = append(left, r)
				continue
			}
			if r.Start < out.Start {
				left = append(left, memimg.Range{Start: r.Start, End: out.Start})
			}
			if out.End < r.End {
				left = append(left, memimg.Range{Start: out.End, End: r.End})
			}
		}
		ranges = left
	}
	return ranges
}
