package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"supervise/plugins/client"
)

// eventNames are those that clients may register for.
var eventNames = []string{client.BeforeFreeze, client.Frozen, client.Captured, client.Resumed, client.Committed, client.SnapshotFail,
	client.Restarted, client.Gone}

// asked are the events of which replies are waited for.
var asked = []string{client.BeforeFreeze, client.Frozen, client.Captured}

// session is a snapshot that is being taken by the process at the other end of
// driver. It ends with that connection at the latest.
type session struct {
	driver *conn
	facts  *client.Facts
	frozen bool // nothing is sent into the tree
	over   bool // committed or failed was told
}

// begin begins a snapshot, when nobody holds it back and no other is taken.
// The answer has what goes into its manifest.
func (s *Server) begin(c *conn, p *pending) error {
	c.driver = true
	s.begins++
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer func() { s.begins--; s.wake() }()
		for {
			if c.closed {
				return
			}
			s.expire()
			if len(s.holds) == 0 && s.session == nil {
				break
			}
			s.await()
		}
		s.session = &session{driver: c}
		for _, other := range s.conns {
			other.told = false
		}
		c.answer(p, Begun{Generation: s.generation, Annotations: maps.Clone(s.annotations)}, nil)
	}()
	return nil
}

// Begun is the answer to begin.
type Begun struct {
	Generation  int               `json:"generation"`
	Annotations map[string]string `json:"annotations"`
}

// await waits for a change, or a moment: processes end without a word.
func (s *Server) await() {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
	case <-time.After(500 * time.Millisecond):
	}
}

// Ends is the answer to the event frozen: what belongs to the connections, by
// the inode of the socket at our end, and which memory is left out.
type Ends struct {
	Ends     map[uint32]json.RawMessage `json:"ends"`
	Excluded map[int][]Range            `json:"excluded,omitempty"` // by pid
}

// event runs one event of the snapshot, and is answered when that is done.
func (s *Server) event(c *conn, p *pending) error {
	var e client.Event
	if err := p.decode(&e); err != nil {
		return err
	}
	ses := s.session
	if ses == nil || ses.driver != c {
		return &client.Error{Code: client.Failed, Message: "event without begin"}
	}
	ses.facts = e.Snapshot
	var result any = struct{}{}
	switch e.Name {
	case client.Frozen:
		result = Ends{s.freeze(), s.excludedNow()}
	case client.Resumed:
		s.thaw()
	case client.Committed, client.SnapshotFail:
		s.thaw()
		ses.over = true
	}
	s.later(c, p, func() (any, error) { return result, s.run(e) })
	return nil
}

// loosen lets connections into the tree be used for a moment, in which it runs
// on, since something in it is in the way of the snapshot and will pass; tighten
// ends that.
func (s *Server) loosen(c *conn, p *pending) error {
	s.thaw()
	c.answer(p, struct{}{}, nil)
	return nil
}

func (s *Server) tighten(c *conn, p *pending) error {
	if s.session == nil || s.session.driver != c {
		return &client.Error{Code: client.Failed, Message: "tighten without begin"}
	}
	c.answer(p, Ends{s.freeze(), s.excludedNow()}, nil)
	return nil
}

// end ends the snapshot.
func (s *Server) end(c *conn, p *pending) error {
	if s.session != nil && s.session.driver == c {
		s.abandon()
	}
	c.answer(p, struct{}{}, nil)
	s.wake()
	return nil
}

// abandon ends the session. Who still waits to hear how the snapshot went is
// told that it failed.
func (s *Server) abandon() {
	ses := s.session
	s.thaw()
	s.session = nil
	if ses.over || ses.facts == nil {
		return
	}
	e := client.Event{Name: client.SnapshotFail, Reason: "the process that took it has ended", Snapshot: ses.facts}
	for _, c := range s.addressees(e.Name) {
		c.tell(e)
	}
}

// run delivers an event. It is called without the lock.
func (s *Server) run(e client.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.addressees(e.Name) {
		if !slices.Contains(asked, e.Name) {
			c.tell(e)
			continue
		}
		if err := s.ask(c, e); err != nil {
			return err
		}
	}
	return nil
}

// registered lists who has registered for an event, in the order of that, or
// in the reverse order for those on the way up.
func (s *Server) registered(event string) []*conn {
	var list []*conn
	for _, c := range s.conns {
		if c.wants(event) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *conn) int { return cmp.Compare(a.order, b.order) })
	if !slices.Contains(asked, event) {
		slices.Reverse(list)
	}
	return list
}

// addressees are those registered, less those that have not been told that
// there would be a snapshot although they wanted to.
func (s *Server) addressees(event string) []*conn {
	list := s.registered(event)
	if event == client.BeforeFreeze {
		return list
	}
	return slices.DeleteFunc(list, func(c *conn) bool { return c.wants(client.BeforeFreeze) && !c.told })
}

// tell sends an event and does not wait.
func (c *conn) tell(e client.Event) {
	c.seq++
	e.Seq, e.Deadline = c.seq, 0
	c.send(client.Line{Event: e})
}

// ask sends an event and waits for the reply. Meanwhile the lock is free.
func (s *Server) ask(c *conn, e client.Event) error {
	if c.closed {
		return nil // it has left before it was asked
	}
	c.seq++
	e.Seq, e.Deadline = c.seq, c.deadline.Milliseconds()
	reply := make(chan string, 1)
	c.replies[c.seq] = reply
	c.told = true
	c.send(client.Line{Event: e})
	refuse, ok := "", true
	s.mu.Unlock()
	late := time.NewTimer(c.deadline)
	select {
	case refuse, ok = <-reply:
	case <-late.C:
		refuse = fmt.Sprintf("no reply within %v", c.deadline)
	}
	late.Stop()
	s.mu.Lock()
	delete(c.replies, e.Seq)
	if !ok {
		refuse = "its connection was closed before it replied"
	}
	if refuse == "" {
		return nil
	}
	return &client.Error{Code: client.Refused, Message: fmt.Sprintf("%s refuses at %s: %.1000s", c.name(), e.Name, refuse)}
}
