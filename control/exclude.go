package control

import (
	"fmt"
	"slices"

	"supervise/internal/procfs"
	"supervise/plugins/client"
)

// Range is a range of addresses, in whole pages.
type Range struct {
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// excluded is what a process has excluded. stack tells its program from one
// that it executes later: then nothing is excluded any more.
type excluded struct {
	stack  uint64
	ranges []Range
}

// stackOf is where the stack of a process's program begins, or 0.
func stackOf(pid int) uint64 {
	st, err := procfs.ReadStat(pid)
	if err != nil || st.Dead() {
		return 0
	}
	return uint64(st.StartStack)
}

// Limits of what can be excluded.
const (
	pageSize    = 4096
	maxExcluded = 1024 // ranges of one process
)

// exclude keeps memory of the process at the other end out of snapshots, or
// takes it in again.
func (s *Server) exclude(c *conn, p *pending) error {
	var params struct {
		Address, Length uint64
		Include         bool
	}
	if err := p.decode(&params); err != nil {
		return err
	}
	if !c.inside || c.peer.Pid == 0 {
		return &client.Error{Code: client.Denied, Message: "exclude: only for a process of the tree, by a connection that it has made in this generation",
			Hint: "connect again after a restart"}
	}
	r := Range{(params.Address + pageSize - 1) &^ (pageSize - 1), (params.Address + params.Length) &^ (pageSize - 1)}
	if params.Address+params.Length < params.Address || r.Start >= r.End {
		return &client.Error{Code: client.Malformed, Message: "exclude: there is no whole page in that range"}
	}
	pid := int(c.peer.Pid)
	stack := stackOf(pid)
	if stack == 0 {
		return &client.Error{Code: client.Failed, Message: "exclude: this process has ended, or may not be looked at"}
	}
	old := s.excluded[pid]
	if old.stack != stack {
		old = excluded{}
	}
	ranges := subtract(old.ranges, r)
	if !params.Include {
		ranges = append(ranges, r)
	}
	if len(ranges) > maxExcluded {
		return &client.Error{Code: client.Failed, Message: fmt.Sprintf("exclude: more than %d ranges", maxExcluded)}
	}
	s.excluded[pid] = excluded{stack, ranges}
	c.answer(p, map[string]uint64{"excluded": r.End - r.Start}, nil)
	return nil
}

// subtract takes a range out of others.
func subtract(ranges []Range, r Range) []Range {
	var left []Range
	for _, old := range ranges {
		if old.End <= r.Start || r.End <= old.Start {
			left = append(left, old)
			continue
		}
		if old.Start < r.Start {
			left = append(left, Range{old.Start, r.Start})
		}
		if r.End < old.End {
			left = append(left, Range{r.End, old.End})
		}
	}
	return left
}

// excludedNow gives what is excluded, by process. Those that have ended are
// forgotten.
func (s *Server) excludedNow() map[int][]Range {
	all := map[int][]Range{}
	for pid, x := range s.excluded {
		if stackOf(pid) != x.stack {
			delete(s.excluded, pid)
			continue
		}
		all[pid] = slices.Clone(x.ranges)
	}
	return all
}
