package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrNoSupervisor says that this program does not run under a supervisor.
var ErrNoSupervisor = errors.New("no supervisor: $" + SocketVariable + " is not set")

// Client is a connection to a supervisor. It may be used by several
// goroutines.
type Client struct {
	conn    net.Conn
	onEvent func(Event) error

	mu      sync.Mutex
	next    int64
	waiting map[int64]chan Line
	err     error // why nothing comes any more
	done    chan struct{}
}

// Enabled tells whether this program runs under a supervisor.
func Enabled() bool { return os.Getenv(SocketVariable) != "" }

// Open connects to the supervisor that $SUPERVISE_SOCKET names.
func Open() (*Client, error) {
	path := os.Getenv(SocketVariable)
	if path == "" {
		return nil, ErrNoSupervisor
	}
	return Dial(path)
}

// patience is how long Dial waits for another supervisor to take a path over.
const patience = 2 * time.Second

// Dial connects to the supervisor that listens at a path.
func Dial(path string) (*Client, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(patience / 40) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return New(conn), nil
		}
		passing := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
		if !passing || time.Now().After(deadline) {
			return nil, err
		}
	}
}

// New speaks the protocol over a connection.
func New(conn net.Conn) *Client {
	c := &Client{conn: conn, waiting: map[int64]chan Line{}, done: make(chan struct{})}
	go c.read()
	return c
}

// Close ends the connection. Holds of it end, too.
func (c *Client) Close() error { return c.conn.Close() }

// Done is closed when nothing comes any more.
func (c *Client) Done() <-chan struct{} { return c.done }

// Call makes a request. params is a struct or map with its fields, or nil; the
// result goes into result, which may be nil. An error answer is an *Error.
func (c *Client) Call(request string, params, result any) error {
	fields := map[string]any{}
	if params != nil {
		b, err := json.Marshal(params)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &fields); err != nil {
			return fmt.Errorf("parameters of %s: %w", request, err)
		}
	}
	answer := make(chan Line, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.next++
	id := c.next
	c.waiting[id] = answer
	c.mu.Unlock()
	fields["id"], fields["request"] = id, request
	if err := c.write(fields); err != nil {
		return err
	}
	line, ok := <-answer
	switch {
	case !ok:
		return fmt.Errorf("%s: %w", request, c.err)
	case line.Error != nil:
		return line.Error
	case result == nil:
		return nil
	}
	return json.Unmarshal(line.Result, result)
}

// write sends one line.
func (c *Client) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.conn.Write(append(b, '\n'))
	return err
}

// read hands out what comes.
func (c *Client) read() {
	events := make(chan Event, 64)
	defer close(events)
	go c.handle(events)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, MaxLine)
	err := error(nil)
	for err == nil && lines.Scan() {
		var l Line
		if err = json.Unmarshal(lines.Bytes(), &l); err != nil {
			break
		}
		switch {
		case l.Name != "":
			events <- l.Event
		case l.ID != nil:
			c.mu.Lock()
			if answer := c.waiting[*l.ID]; answer != nil {
				answer <- l
				delete(c.waiting, *l.ID)
			}
			c.mu.Unlock()
		case l.Error != nil:
			err = l.Error
		}
	}
	if err == nil {
		err = lines.Err()
	}
	if err == nil {
		err = io.EOF
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, answer := range c.waiting {
		close(answer)
		delete(c.waiting, id)
	}
	close(c.done)
}

// handle answers events one after the other.
func (c *Client) handle(events <-chan Event) {
	for e := range events {
		c.mu.Lock()
		fn := c.onEvent
		c.mu.Unlock()
		var err error
		if fn != nil {
			err = fn(e)
		}
		if e.Deadline == 0 {
			continue
		}
		reply := Line{Reply: &e.Seq}
		if err != nil {
			reply.Refuse = err.Error()
		}
		_ = c.write(reply) // a broken connection is a refusal
	}
}

// Checkpoint takes a snapshot. In the original it returns the outcome
// "resumed", and in each restarted copy "restarted". name may be empty.
func (c *Client) Checkpoint(name string) (Outcome, error) {
	var o Outcome
	params := map[string]any{}
	if name != "" {
		params["name"] = name
	}
	err := c.Call("checkpoint", params, &o)
	return o, err
}

// Status tells how the job is.
func (c *Client) Status() (Status, error) {
	var s Status
	err := c.Call("status", nil, &s)
	return s, err
}

// List lists the snapshots of the job, the oldest first.
func (c *Client) List() ([]Snapshot, error) {
	var l List
	err := c.Call("list", nil, &l)
	return l.Snapshots, err
}

// Remove removes a snapshot, which is named by its number or NAME@NNNN.
func (c *Client) Remove(snapshot string) error {
	return c.Call("remove", map[string]any{"snapshot": snapshot}, nil)
}

// Restore replaces the tree by an earlier snapshot, the newest good one if
// snapshot is empty. Inside the tree it returns only on error.
func (c *Client) Restore(snapshot string) (Outcome, error) {
	var o Outcome
	params := map[string]any{}
	if snapshot != "" {
		params["snapshot"] = snapshot
	}
	err := c.Call("restore", params, &o)
	return o, err
}

// Hold holds snapshots back until Release, or until the time is over.
func (c *Client) Hold(owner string, timeout time.Duration) error {
	return c.Call("hold", map[string]any{"owner": owner, "timeout_ms": timeout.Milliseconds()}, nil)
}

// Release ends one Hold.
func (c *Client) Release(owner string) error {
	return c.Call("release", map[string]any{"owner": owner}, nil)
}

// Annotate sets strings that later snapshots carry. A nil value removes one.
func (c *Client) Annotate(set map[string]*string) error {
	return c.Call("annotate", map[string]any{"set": set}, nil)
}

// Register has fn called for events, one after the other. Its error refuses
// the snapshot, where the event can be refused.
func (c *Client) Register(fn func(Event) error, deadline time.Duration, events ...string) error {
	c.mu.Lock()
	c.onEvent = fn
	c.mu.Unlock()
	params := map[string]any{"events": events}
	if deadline > 0 {
		params["deadline_ms"] = deadline.Milliseconds()
	}
	return c.Call("register", params, nil)
}
