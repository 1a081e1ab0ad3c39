package control

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// Server answers the requests of one supervisor's clients.
type Server struct {
	host Host
	uid  int

	mu          sync.Mutex
	conns       []*conn
	listeners   []*listener
	closed      bool
	leaving     bool     // nothing is carried out any more
	session     *session // the snapshot that is being taken
	begins      int      // of those that want to begin one
	holds       map[holdKey]*hold
	changed     chan struct{} // closed when holds or session change
	annotations map[string]string
	excluded    map[int]excluded // by pid
	generation  int
	orders      int64
	handing     sync.WaitGroup // connections of which it is not known yet whose they are
}

// Options say what a server begins with.
type Options struct {
	Generation  int
	Annotations map[string]string
}

// New makes a server that listens nowhere yet.
func New(host Host, o Options) *Server {
	s := &Server{host: host, uid: os.Geteuid(), holds: map[holdKey]*hold{}, changed: make(chan struct{}),
		annotations: map[string]string{}, excluded: map[int]excluded{}, generation: o.Generation}
	maps.Copy(s.annotations, o.Annotations)
	return s
}

// listener is a socket that listens at a path.
type listener struct {
	path string
	file *os.File
	ino  uint64 // of the path
}

// MaxPath is the length of a path that every client can connect to (man 7
// unix: sun_path, with a zero byte at its end).
const MaxPath = 107

// Listen listens at a path, too. Its directory must exist, and be private. A
// socket that nobody listens at any more is replaced; the error is
// unix.EADDRINUSE when somebody does.
func (s *Server) Listen(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	l := &listener{path: path, file: os.NewFile(uintptr(fd), path)}
	if err := bindAt(fd, path); err != nil {
		return errors.Join(fmt.Errorf("control socket %s: %w", path, err), l.file.Close())
	}
	var st unix.Stat_t
	err = unix.Listen(fd, 64)
	if err == nil {
		err = unix.Lstat(path, &st)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("control socket %s: %w", path, err), l.file.Close())
	}
	l.ino = st.Ino
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = unix.Unlink(path)
		return errors.Join(fs.ErrClosed, l.file.Close())
	}
	s.listeners = append(s.listeners, l)
	go s.accept(l)
	return nil
}

// bindAt binds a socket to a path that nobody listens at. Should two do so at
// once, the later one has it; the earlier one does no harm (see close).
func bindAt(fd int, path string) error {
	if len(path) > MaxPath {
		return unix.ENAMETOOLONG
	}
	if answers(path) {
		return unix.EADDRINUSE
	}
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// answers reports whether somebody listens at a path.
func answers(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	return err == nil || err == unix.EAGAIN || err == unix.EACCES
}

// RemoveLeft removes the sockets in a directory that nobody listens at any more.
// The caller makes sure that nobody is about to.
func RemoveLeft(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.Type() == fs.ModeSocket && !answers(path) {
			_ = unix.Unlink(path)
		}
	}
}

// stop removes the socket, unless another has taken the path since, and lets
// accept end, which closes it: to do that here would wait for accept, which may
// be waiting for the lock.
func (l *listener) stop() {
	var st unix.Stat_t
	if err := unix.Lstat(l.path, &st); err == nil && st.Ino == l.ino {
		_ = unix.Unlink(l.path)
	}
	if raw, err := l.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	}
}

// accept takes connections.
func (s *Server) accept(l *listener) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.acceptAll(l, int(fd)) != nil
	})
	l.file.Close()
}

// eachListener calls fn with every listener and its descriptor.
func (s *Server) eachListener(fn func(l *listener, fd int)) {
	for _, l := range s.listeners {
		if raw, err := l.file.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { fn(l, int(fd)) })
		}
	}
}

// acceptAll takes the connections that wait. It holds the lock from the
// accept(2) until the connection is on the books.
func (s *Server) acceptAll(l *listener, lfd int) error {
	for {
		fd, _, err := unix.Accept4(lfd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch err {
		case nil:
			s.welcome(l, fd)
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE:
			if !s.relieve() {
				return nil // until the next one comes
			}
		default:
			return err
		}
	}
}

// relieve drops the oldest connection from outside that waits for nothing, so
// that there are descriptors again.
func (s *Server) relieve() bool {
	for _, c := range s.conns {
		if !c.inside && !c.driver && len(c.pending) == 0 {
			c.drop()
			return true
		}
	}
	return false
}

// welcome takes a connection, if its peer may speak here.
func (s *Server) welcome(l *listener, fd int) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	inside := err == nil && s.host.Inside(int(peer.Pid))
	if err != nil || !inside && peer.Uid != 0 && int(peer.Uid) != s.uid {
		unix.Close(fd)
		return
	}
	if inside {
		s.take(fd, peer, true)
		return
	}
	s.handing.Add(1)
	go func() {
		defer s.handing.Done()
		if path := s.host.Elsewhere(int(peer.Pid), l.path); path != "" && handOver(fd, path) {
			unix.Close(fd)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.take(fd, peer, false)
	}()
}

// take puts a connection on the books.
func (s *Server) take(fd int, peer *unix.Ucred, inside bool) {
	c, err := s.newConn(fd)
	if err != nil {
		return
	}
	c.peer, c.inside = *peer, inside
	s.add(c)
}

// add begins to serve a connection.
func (s *Server) add(c *conn) {
	if s.closed {
		c.closed = true
		c.file.Close()
		return
	}
	s.conns = append(s.conns, c)
	go c.read()
}

// forget takes a connection off the books.
func (s *Server) forget(c *conn) {
	for i, other := range s.conns {
		if other == c {
			s.conns = append(s.conns[:i:i], s.conns[i+1:]...)
			break
		}
	}
	for key := range s.holds {
		if key.conn == c {
			delete(s.holds, key)
		}
	}
	if s.session != nil && s.session.driver == c {
		s.abandon()
	}
	s.wake()
}

// wake tells those who wait for something to change.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
	if s.session == nil {
		for _, c := range s.conns {
			c.retry()
		}
	}
}

// retry answers what can be answered now.
func (c *conn) retry() {
	for _, p := range append([]*pending{}, c.pending...) {
		if p.answer != nil {
			p.answer()
		}
	}
}

// Close ends all connections, and stops listening. Connections from inside
// the tree see end of file; those from the trees of others are handed over.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.eachListener(func(l *listener, fd int) { _ = s.acceptAll(l, fd) })
	s.mu.Unlock()
	s.handing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stopListening()
	for _, c := range append([]*conn{}, s.conns...) {
		c.flush()
		c.drop()
	}
}

// StopListening removes the sockets. Connections stay.
func (s *Server) StopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopListening()
}

func (s *Server) stopListening() {
	for _, l := range s.listeners {
		l.stop()
	}
	s.listeners = nil
}

// Annotations are what later snapshots carry.
func (s *Server) Annotations() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.annotations)
}

// Tell sends an event that nobody is asked about to all who have registered
// for it.
func (s *Server) Tell(e client.Event) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.registered(e.Name) {
		c.tell(e)
	}
}
