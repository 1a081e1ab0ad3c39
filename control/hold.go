package control

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"supervise/internal/procfs"
	"supervise/plugins/client"
)

// holdKey names a hold. conn is nil for a detached one.
type holdKey struct {
	conn  *conn
	owner string
}

// hold keeps snapshots from being taken.
type hold struct {
	depth int
	until time.Time
	timer *time.Timer
	pid   int // with it a detached hold ends; 0: none
}

// Limits of the time of a hold.
const (
	usualHold = 30 * time.Second
	maxHold   = time.Hour
)

// holdParams are those of hold and release.
type holdParams struct {
	Owner    string
	Timeout  int64 `json:"timeout_ms"`
	Detached bool
	Parent   bool // it ends with the parent of who asks
}

func (s *Server) holdParams(c *conn, p *pending) (holdParams, holdKey, error) {
	h := holdParams{Timeout: usualHold.Milliseconds()}
	if err := p.decode(&h); err != nil {
		return h, holdKey{}, err
	}
	key := holdKey{owner: h.Owner}
	if !h.Detached {
		key.conn = c
	}
	switch {
	case h.Timeout < 1 || h.Timeout > maxHold.Milliseconds():
		return h, key, &client.Error{Code: client.Malformed, Message: fmt.Sprintf("hold: timeout_ms is not within 1 and %d", maxHold.Milliseconds())}
	case len(h.Owner) > maxName || h.Parent && !h.Detached:
		return h, key, &client.Error{Code: client.Malformed, Message: p.request + ": an owner that is too long, or parent without detached"}
	}
	return h, key, nil
}

// hold begins a hold, or makes one deeper. While a snapshot is being taken, or
// waits to be, only those go deeper who have one.
func (s *Server) hold(c *conn, p *pending) error {
	params, key, err := s.holdParams(c, p)
	if err != nil {
		return err
	}
	p.answer = func() {
		s.expire()
		h := s.holds[key]
		if s.session != nil || s.begins > 0 && h == nil {
			return // retried when that has changed
		}
		if h == nil {
			h = &hold{}
			if params.Parent {
				h.pid = parentOf(int(c.peer.Pid))
			}
			s.holds[key] = h
		}
		h.depth++
		s.extend(h, time.Duration(params.Timeout)*time.Millisecond)
		c.answer(p, client.Hold{Owner: params.Owner, Depth: h.depth}, nil)
	}
	p.answer()
	return nil
}

// extend lets a hold end not before some time has passed.
func (s *Server) extend(h *hold, d time.Duration) {
	if until := time.Now().Add(d); until.After(h.until) {
		h.until = until
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	h.timer = time.AfterFunc(time.Until(h.until), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expire()
		s.wake()
	})
}

// release takes one hold back.
func (s *Server) release(c *conn, p *pending) error {
	params, key, err := s.holdParams(c, p)
	if err != nil {
		return err
	}
	s.expire()
	h := s.holds[key]
	if h == nil {
		return &client.Error{Code: client.Failed, Message: fmt.Sprintf("release: %q holds nothing back", params.Owner),
			Hint: "it has been released, or its time was over"}
	}
	h.depth--
	if h.depth == 0 {
		h.timer.Stop()
		delete(s.holds, key)
	}
	c.answer(p, client.Hold{Owner: params.Owner, Depth: h.depth}, nil)
	s.wake()
	return nil
}

// expire ends the holds whose time is over, or whose process is gone.
func (s *Server) expire() {
	now := time.Now()
	for key, h := range s.holds {
		if !h.until.After(now) || h.pid != 0 && ended(h.pid) {
			h.timer.Stop()
			delete(s.holds, key)
		}
	}
}

// parentOf gives the pid of a process's parent, or 0.
func parentOf(pid int) int {
	st, err := procfs.ReadStat(pid)
	if err != nil {
		return 0
	}
	return st.PPID
}

func ended(pid int) bool {
	st, err := procfs.ReadStat(pid)
	return procfs.Gone(err) || err == nil && st.Dead()
}

// listHolds tells who holds snapshots back.
func (s *Server) listHolds() []client.Hold {
	list := []client.Hold{}
	for key, h := range s.holds {
		list = append(list, client.Hold{Owner: key.owner, Depth: h.depth, LeftMS: time.Until(h.until).Milliseconds()})
	}
	slices.SortFunc(list, func(a, b client.Hold) int { return cmp.Compare(a.Owner, b.Owner) })
	return list
}
