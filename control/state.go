package control

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// State is what belongs to a connection and is not in the kernel. It is in
// images: fields are only added.
type State struct {
	In       []byte            `json:"in,omitempty"`  // of a line that has not come whole
	Out      []byte            `json:"out,omitempty"` // not sent yet
	Pending  []json.RawMessage `json:"pending,omitempty"`
	Events   []string          `json:"events,omitempty"`
	Deadline int64             `json:"deadline_ms,omitempty"`
	Order    int64             `json:"order,omitempty"`
	Seq      int64             `json:"seq,omitempty"`
}

// freeze gives the states of all connections. From now on nothing is sent to
// any that may lie in the tree; what comes from there has come already.
func (s *Server) freeze() map[uint32]json.RawMessage {
	s.eachListener(func(l *listener, fd int) { _ = s.acceptAll(l, fd) })
	for _, c := range append([]*conn{}, s.conns...) {
		_ = c.raw.Control(func(fd uintptr) { c.receive(int(fd)) })
	}
	s.session.frozen = true
	ends := map[uint32]json.RawMessage{}
	for _, c := range s.conns {
		if c.driver {
			continue
		}
		st := State{In: c.in, Out: c.out, Events: c.events, Deadline: c.deadline.Milliseconds(), Order: c.order, Seq: c.seq}
		for _, p := range c.pending {
			st.Pending = append(st.Pending, p.line)
		}
		if b, err := json.Marshal(st); err == nil {
			ends[c.ino] = b
		}
	}
	return ends
}

// thaw lets what waits be sent.
func (s *Server) thaw() {
	if s.session == nil || !s.session.frozen {
		return
	}
	s.session.frozen = false
	for _, c := range append([]*conn{}, s.conns...) {
		c.flush()
	}
}

// End is our end of a connection that has come back with the tree.
type End struct {
	FD    int
	State []byte
}

// Resume goes on with the connections of a restarted tree. o is what pending
// checkpoints have for an answer. It takes over the descriptors.
func (s *Server) Resume(ends []End, o client.Outcome) error {
	var problem error
	for _, end := range ends {
		var st State
		if err := json.Unmarshal(end.State, &st); err != nil {
			unix.Close(end.FD)
			problem = fmt.Errorf("a control connection of the tree: %w", err)
			continue
		}
		c, err := s.newConn(end.FD)
		if err != nil {
			problem = err
			continue
		}
		c.inside, c.in, c.out = true, st.In, st.Out
		c.events, c.deadline = st.Events, time.Duration(st.Deadline)*time.Millisecond
		c.order, c.seq = st.Order, st.Seq
		s.mu.Lock()
		s.orders = max(s.orders, c.order)
		s.conns = append(s.conns, c)
		c.resume(st.Pending, o)
		go c.read()
		s.mu.Unlock()
	}
	return problem
}

// Farewell answers what waits in the connections of a tree that has no
// supervisor, and ends them.
func (s *Server) Farewell(ends []End, o client.Outcome) error {
	s.leaving = true
	err := s.Resume(ends, o)
	s.Close()
	return err
}

// resume sends what there was to be sent, and answers what was asked.
func (c *conn) resume(lines []json.RawMessage, o client.Outcome) {
	c.flush()
	if c.wants(client.Restarted) {
		c.tell(client.Event{Name: client.Restarted, Snapshot: &client.Facts{Job: c.s.host.Hello().Job, RootPID: o.RootPID,
			Generation: o.Generation, Image: o.Image}})
	}
	for _, line := range lines {
		var l head
		if json.Unmarshal(line, &l) != nil || l.ID == nil {
			continue
		}
		p := &pending{id: *l.ID, request: l.Request, line: line}
		switch r, _ := routeTo(l.Request); {
		case l.Request == "checkpoint":
			answer := o
			answer.Outcome, answer.RootPID = "restarted", 0
			c.answer(p, answer, nil)
		case !r.once && !c.s.leaving:
			c.s.dispatch(c, p)
		default:
			c.answer(p, nil, &client.Error{Code: client.Interrupted, Message: l.Request + ": the tree was restarted in between"})
		}
	}
}

// name tells who is at the other end, for messages.
func (c *conn) name() string {
	if c.peer.Pid != 0 {
		return fmt.Sprintf("process %d", c.peer.Pid)
	}
	return "a process of the tree"
}
