package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// conn is one connection. The server's lock guards it.
type conn struct {
	s    *Server
	file *os.File
	raw  syscall.RawConn
	ino  uint32 // of the socket at our end
	peer unix.Ucred

	inside  bool // it comes from inside the tree
	driver  bool // it takes a snapshot
	closed  bool
	writing bool // a goroutine waits until more can be sent

	in, out []byte
	files   []int // descriptors that came with what is in in
	pending []*pending

	events   []string
	deadline time.Duration
	order    int64 // of its registration
	seq      int64
	told     bool // of the snapshot that is being taken
	replies  map[int64]chan string
}

// pending is a request that is not answered yet.
type pending struct {
	id      int64
	request string
	line    json.RawMessage
	answer  func() // tries to answer it now that something has changed; may be nil
}

// limits on what a peer can make us keep.
const (
	maxOut     = 4 << 20
	maxPending = 64
)

// newConn takes over a connected socket.
func (s *Server) newConn(fd int) (*conn, error) {
	c := &conn{s: s, replies: map[int64]chan string{}}
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c.ino = uint32(st.Ino)
	c.file = os.NewFile(uintptr(fd), "control connection")
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	return c, nil
}

// read serves the connection until it ends.
func (c *conn) read() {
	_ = c.raw.Read(func(fd uintptr) bool {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return c.receive(int(fd))
	})
	c.s.mu.Lock()
	c.drop()
	c.s.mu.Unlock()
	c.file.Close()
}

// receive takes what is there and handles whole lines. It reports the end of
// the connection.
func (c *conn) receive(fd int) (end bool) {
	buf, oob := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(4*8))
	for !c.closed {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return false
		}
		if err != nil || n == 0 {
			return true
		}
		c.keepFiles(oob[:oobn])
		c.in = append(c.in, buf[:n]...)
		c.lines()
		if len(c.in) > client.MaxLine {
			c.protest("a line is longer than 1 MiB")
		}
	}
	return true
}

// keepFiles takes descriptors, of which only supervisors send any.
func (c *conn) keepFiles(oob []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			c.files = append(c.files, fds...)
		}
	}
}

func (c *conn) closeFiles() {
	for _, fd := range c.files {
		unix.Close(fd)
	}
	c.files = nil
}

// lines handles the whole lines that have come.
func (c *conn) lines() {
	for !c.closed {
		line, rest, whole := bytes.Cut(c.in, []byte{'\n'})
		if !whole {
			break
		}
		c.in = rest
		if len(bytes.TrimSpace(line)) > 0 {
			c.line(bytes.Clone(line))
		}
	}
	c.closeFiles()
}

// head is what tells requests and replies apart. The rest is the request's.
type head struct {
	ID      *int64
	Request string
	Reply   *int64
	Refuse  string
}

// line handles one line.
func (c *conn) line(text []byte) {
	var l head
	if err := json.Unmarshal(text, &l); err != nil {
		c.protest(fmt.Sprintf("not a line of the protocol: %v", err))
		return
	}
	switch {
	case l.Reply != nil:
		if waiting := c.replies[*l.Reply]; waiting != nil {
			delete(c.replies, *l.Reply)
			waiting <- l.Refuse
		}
	case l.ID != nil && l.Request != "":
		c.s.dispatch(c, &pending{id: *l.ID, request: l.Request, line: text})
	default:
		c.protest("neither a request, with id and request, nor a reply")
	}
}

// protest tells the peer that it is not understood, and ends the connection.
func (c *conn) protest(why string) {
	c.send(client.Line{Error: &client.Error{Code: client.Malformed, Message: why}})
	c.drop()
}

// answer answers a request that is pending. Who is gone gets nothing.
func (c *conn) answer(p *pending, result any, err error) {
	for i, other := range c.pending {
		if other == p {
			c.pending = append(c.pending[:i:i], c.pending[i+1:]...)
			break
		}
	}
	l := client.Line{ID: &p.id}
	if err == nil {
		l.Result, err = json.Marshal(result)
	}
	if err != nil {
		l.Result, l.Error = nil, fail(err)
	}
	c.send(l)
}

// send sends one line, as soon as the peer takes it.
func (c *conn) send(l client.Line) {
	if c.closed {
		return
	}
	b, err := json.Marshal(l)
	if err != nil || len(c.out)+len(b) > maxOut {
		c.drop() // it does not read
		return
	}
	c.out = append(append(c.out, b...), '\n')
	c.flush()
}

// flush sends what can be sent without waiting.
func (c *conn) flush() {
	if c.muted() || len(c.out) == 0 || c.writing {
		return
	}
	full := false
	err := c.raw.Control(func(fd uintptr) { full = c.push(int(fd)) })
	if err != nil || !full {
		return
	}
	c.writing = true
	go func() {
		_ = c.raw.Write(func(fd uintptr) bool {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			return !c.push(int(fd))
		})
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.writing = false
		c.flush()
	}()
}

// push sends, and reports that the peer does not take more for now.
func (c *conn) push(fd int) (full bool) {
	for len(c.out) > 0 && !c.muted() && !c.closed {
		n, err := unix.SendmsgN(fd, c.out, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return true
		case err != nil:
			c.drop()
		default:
			c.out = c.out[n:]
		}
	}
	return false
}

// muted tells whether nothing may be sent, since the tree is frozen and its
// queues are captured, or have been. Only who is outside registers for what
// happens meanwhile.
func (c *conn) muted() bool {
	frozen := c.s.session != nil && c.s.session.frozen
	return frozen && !c.driver && !c.wants(client.Frozen) && !c.wants(client.Captured)
}

// wants tells whether it gets an event.
func (c *conn) wants(event string) bool {
	if c.inside && (event == client.Frozen || event == client.Captured) {
		return false
	}
	for _, e := range c.events {
		if e == event {
			return true
		}
	}
	return false
}

// drop ends the connection. Its reader closes it.
func (c *conn) drop() {
	if c.closed {
		return
	}
	c.closed = true
	_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	c.closeFiles()
	for seq, waiting := range c.replies {
		delete(c.replies, seq)
		close(waiting)
	}
	c.s.forget(c)
}
