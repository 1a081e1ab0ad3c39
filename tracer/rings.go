package tracer

import (
	"supervise/internal/task"
	"supervise/memstate"
)

// surveyRings looks into the rings of asynchronous I/O that a process has. That
// takes calls inside, so that it happens to no other.
func (s *snapshot) surveyRings(p *process, mem memstate.Process) error {
	if !p.space.Rings() {
		return nil
	}
	if err := s.infect(p); err != nil {
		if s.refuseSandbox(p, err) {
			return nil
		}
		return err
	}
	var mates []*task.Thread
	for _, q := range s.procs {
		if q == p || q.shares.Memory == p.held.ID {
			mates = append(mates, q.held.Threads...)
		}
	}
	return p.space.SurveyRings(mem, mates, &s.refused)
}
