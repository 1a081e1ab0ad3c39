package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supervise/plugins/client"
)

// route is what is done with a request. handle is called with the lock; it
// answers, then or later.
type route struct {
	handle func(*Server, *conn, *pending) error
	own    bool // of supervise's own: not from inside the tree
	once   bool // not to be carried out again in a restarted copy
}

// routeTo finds the route of a request.
func routeTo(request string) (route, bool) {
	r, known := map[string]route{
		"hello":      {handle: (*Server).hello},
		"checkpoint": {handle: (*Server).checkpoint, once: true},
		"status":     {handle: (*Server).status},
		"list":       {handle: (*Server).list},
		"remove":     {handle: (*Server).remove, once: true},
		"restore":    {handle: (*Server).restore, once: true},
		"hold":       {handle: (*Server).hold},
		"release":    {handle: (*Server).release},
		"register":   {handle: (*Server).register},
		"annotate":   {handle: (*Server).annotate},
		"exclude":    {handle: (*Server).exclude, once: true},
		"begin":      {handle: (*Server).begin, own: true},
		"event":      {handle: (*Server).event, own: true},
		"end":        {handle: (*Server).end, own: true},
		"loosen":     {handle: (*Server).loosen, own: true},
		"tighten":    {handle: (*Server).tighten, own: true},
		"adopt":      {handle: (*Server).adopt, own: true},
	}[request]
	return r, known
}

// dispatch handles one request.
func (s *Server) dispatch(c *conn, p *pending) {
	r, known := routeTo(p.request)
	if len(c.pending) >= maxPending {
		c.protest(fmt.Sprintf("more than %d requests wait for an answer", maxPending))
		return
	}
	c.pending = append(c.pending, p)
	var err error
	switch {
	case !known:
		err = &client.Error{Code: client.Unknown, Message: fmt.Sprintf("there is no request %.40q", p.request)}
	case r.own && c.inside:
		err = &client.Error{Code: client.Denied, Message: p.request + " is not for processes of the tree"}
	default:
		err = r.handle(s, c, p)
	}
	if err != nil {
		c.answer(p, nil, err)
	}
}

// decode reads the parameters of a request.
func (p *pending) decode(v any) error {
	if err := json.Unmarshal(p.line, v); err != nil {
		return &client.Error{Code: client.Malformed, Message: fmt.Sprintf("%s: %v", p.request, err)}
	}
	return nil
}

// later calls the host without the lock, and answers.
func (s *Server) later(c *conn, p *pending, fn func() (any, error)) {
	go func() {
		result, err := fn()
		s.mu.Lock()
		defer s.mu.Unlock()
		c.answer(p, result, err)
	}()
}

func (s *Server) hello(c *conn, p *pending) error {
	var params struct{ Version int }
	if err := p.decode(&params); err != nil {
		return err
	}
	if params.Version != client.Version {
		return &client.Error{Code: client.BadVersion,
			Message: fmt.Sprintf("version %d is not spoken here, %d is", params.Version, client.Version)}
	}
	h := s.host.Hello()
	h.Version, h.Generation = client.Version, s.generation
	c.answer(p, h, nil)
	return nil
}

// checkpoint takes a snapshot. Who holds snapshots back would wait for itself.
func (s *Server) checkpoint(c *conn, p *pending) error {
	var params struct{ Name string }
	if err := p.decode(&params); err != nil {
		return err
	}
	if len(params.Name) > maxName {
		return &client.Error{Code: client.Malformed, Message: fmt.Sprintf("checkpoint: the name is longer than %d bytes", maxName)}
	}
	s.expire()
	for key := range s.holds {
		if key.conn == c {
			return &client.Error{Code: client.Held, Message: "this connection holds snapshots back itself",
				Hint: "release the hold of " + fmt.Sprintf("%q", key.owner) + " first"}
		}
	}
	annotations := map[string]string{}
	if params.Name != "" {
		annotations["name"] = params.Name
	}
	s.later(c, p, func() (any, error) {
		o, err := s.host.Checkpoint(annotations)
		o.Outcome, o.Generation = "resumed", s.generation
		return o, err
	})
	return nil
}

func (s *Server) status(c *conn, p *pending) error {
	s.later(c, p, func() (any, error) {
		st, err := s.host.Status()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expire()
		st.Generation, st.SnapshotRunning = s.generation, s.session != nil
		st.Holds, st.Annotations = s.listHolds(), maps.Clone(s.annotations)
		return st, err
	})
	return nil
}

func (s *Server) list(c *conn, p *pending) error {
	s.later(c, p, func() (any, error) {
		all, err := s.host.List()
		if all == nil {
			all = []client.Snapshot{}
		}
		return client.List{Snapshots: all}, err
	})
	return nil
}

// which reads the parameter that names a snapshot.
func (p *pending) which() (string, error) {
	var params struct{ Snapshot any }
	if err := p.decode(&params); err != nil {
		return "", err
	}
	switch v := params.Snapshot.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case float64:
		return fmt.Sprint(int64(v)), nil
	}
	return "", &client.Error{Code: client.Malformed, Message: p.request + ": snapshot is neither a number nor a string"}
}

func (s *Server) remove(c *conn, p *pending) error {
	which, err := p.which()
	if err == nil && which == "" {
		err = &client.Error{Code: client.Malformed, Message: "remove: which snapshot?"}
	}
	if err != nil {
		return err
	}
	s.later(c, p, func() (any, error) {
		name, err := s.host.Remove(which)
		return map[string]string{"removed": name}, err
	})
	return nil
}

// restore replaces the tree. Who asks from outside is answered by what takes
// the place of this server.
func (s *Server) restore(c *conn, p *pending) error {
	which, err := p.which()
	if err != nil {
		return err
	}
	var answer func() (int, error)
	if !c.inside {
		answer = c.duplicate
	}
	s.later(c, p, func() (any, error) { return nil, s.host.Restore(which, answer, p.id) })
	return nil
}

// register chooses events.
func (s *Server) register(c *conn, p *pending) error {
	const most, usual = 60 * time.Second, 5 * time.Second
	params := struct {
		Events   []string
		Deadline int64 `json:"deadline_ms"`
	}{Deadline: usual.Milliseconds()}
	if err := p.decode(&params); err != nil {
		return err
	}
	for _, e := range params.Events {
		if !slices.Contains(eventNames, e) {
			return &client.Error{Code: client.Unknown, Message: fmt.Sprintf("there is no event %.40q", e)}
		}
	}
	if params.Deadline < 1 || params.Deadline > most.Milliseconds() {
		return &client.Error{Code: client.Malformed, Message: fmt.Sprintf("register: deadline_ms is not within 1 and %d", most.Milliseconds())}
	}
	c.events, c.deadline = slices.Clip(params.Events), time.Duration(params.Deadline)*time.Millisecond
	if c.events == nil {
		c.events = []string{}
	}
	if c.order == 0 {
		s.orders++
		c.order = s.orders
	}
	c.answer(p, map[string]any{"events": c.events}, nil)
	return nil
}

// Limits of annotations.
const (
	maxAnnotations = 64
	maxKey         = 64
	maxValue       = 4096
	maxName        = 200
)

// CheckAnnotation refuses what cannot be an annotation.
func CheckAnnotation(key, value string) error {
	switch {
	case key == "" || len(key) > maxKey || strings.HasPrefix(key, "supervise.") || strings.ContainsAny(key, "=\n"):
		return fmt.Errorf("%.80q cannot be the name of an annotation", key)
	case len(value) > maxValue:
		return fmt.Errorf("annotation %s is longer than %d bytes", key, maxValue)
	}
	return nil
}

// annotate changes annotations, all of them or none.
func (s *Server) annotate(c *conn, p *pending) error {
	var params struct{ Set map[string]*string }
	if err := p.decode(&params); err != nil {
		return err
	}
	changed := maps.Clone(s.annotations)
	for key, value := range params.Set {
		if value == nil {
			delete(changed, key)
			continue
		}
		if err := CheckAnnotation(key, *value); err != nil {
			return &client.Error{Code: client.Malformed, Message: "annotate: " + err.Error()}
		}
		changed[key] = *value
	}
	if len(changed) > maxAnnotations {
		return &client.Error{Code: client.Malformed, Message: fmt.Sprintf("annotate: more than %d annotations", maxAnnotations)}
	}
	s.annotations = changed
	c.answer(p, map[string]any{"annotations": maps.Clone(changed)}, nil)
	return nil
}
