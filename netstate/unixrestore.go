package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
	"supervise/policy"
)

// unixNet is the unix sockets of one restart. They are made together, in the
// builder, since most have parts in one another.
type unixNet struct {
	socks []*unixSock
	byID  map[uint64]*unixSock

	o      *fdstate.Opener
	stand  *standIns
	doors  map[doorKey]*door
	strays map[string]int // senders of datagrams that are gone, by name
	temps  []int          // the builder's numbers to be closed in the end
	copies map[int]int    // ours of the builder's

	control []ControlEnd
}

// unixSock is a socket in the making.
type unixSock struct {
	rec   *Unix
	flags int
	link  string
	rule  *policy.Rule
	to    []byte // what it is connected to outside the tree, or nil
	num   int    // where the builder has it, once it is made
	made  bool   // it is there
	dead  int    // where its closed other end is meanwhile, or -1
	ref   int    // an O_PATH descriptor of its file, or -1

	server int // of a control connection: where the builder has its other end
}

func (n *unixNet) add(s *unixSock) {
	s.dead, s.ref = -1, -1
	n.socks = append(n.socks, s)
	n.byID[s.rec.ID] = s
}

// steps in order; each comment says what must already hold.
var unixSteps = []struct {
	what string
	run  func(*unixNet, *unixSock) error
}{
	{"make", (*unixNet).makeSingle},           // listeners first: connections may be made through them
	{"connect", (*unixNet).makeConnection},    // names are bound
	{"fill", (*unixNet).fill},                 // datagram sockets are connected to nobody yet, and take from everybody
	{"set the options of", (*unixNet).adjust}, // a listener's pass on to what waits to be accepted
	{"connect", (*unixNet).queueUp},           // as others may only now
	{"shut down", (*unixNet).shutDown},        // nothing is sent after it
}

// restore makes all sockets. Everything they carry is open.
func (n *unixNet) restore(o *fdstate.Opener) error {
	if err := o.Run(); err != nil {
		return err
	}
	n.o = o
	var err error
	if n.stand, err = newStandIns(o.Proc); err != nil {
		return err
	}
	err = n.make()
	for _, fd := range n.copies {
		unix.Close(fd)
	}
	return errors.Join(err, n.stand.close())
}

func (n *unixNet) make() error {
	if err := n.prepare(); err != nil {
		return err
	}
	for _, step := range unixSteps {
		for _, s := range n.socks {
			if err := step.run(n, s); err != nil {
				return fmt.Errorf("%s unix %s: %w", step.what, s.link, err)
			}
		}
	}
	if err := n.connectDatagrams(); err != nil {
		return err
	}
	var b task.Batch
	for _, num := range n.temps {
		b.Add(unix.SYS_CLOSE, num)
	}
	return n.builder().Run(&b)
}

// builder is the process that all others descend from.
func (n *unixNet) builder() *task.Process { return n.o.Proc }

// prepare starts all stand-ins, before the kernel gives their ids to others,
// and takes an end that a rule has left out for a closed one.
func (n *unixNet) prepare() error {
	for _, s := range n.socks {
		rec := s.rec
		if err := s.decide(); err != nil {
			return err
		}
		s.rename()
		if rec.Peer != 0 && n.byID[rec.Peer] == nil {
			rec.Peer, rec.Gone = 0, &Gone{}
		}
		creds := []*Cred{rec.Cred}
		for i := range rec.Queue {
			creds = append(creds, rec.Queue[i].Cred)
		}
		if rec.Listen != nil {
			for i := range rec.Listen.Waiting {
				creds = append(creds, &rec.Listen.Waiting[i].Cred)
			}
		}
		for _, c := range creds {
			if _, err := n.stand.as(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// open makes a call in the builder that returns a new descriptor, and moves
// that to num.
func (n *unixNet) open(num int, nr uintptr, args ...any) error {
	return openAt(n.builder(), num, nr, args...)
}

// move brings a descriptor of the builder to another number.
func (n *unixNet) move(fd, num int) error { return move(n.builder(), fd, num) }

// openAt makes a call in a process that returns a new descriptor, and moves
// that to num.
func openAt(p *task.Process, num int, nr uintptr, args ...any) error {
	fd, err := p.Call(nr, args...)
	if err != nil {
		return err
	}
	return move(p, int(fd), num)
}

// move brings a descriptor of a process to another number.
func move(p *task.Process, fd, num int) error {
	if fd == num {
		return nil
	}
	var b task.Batch
	b.Add(unix.SYS_DUP3, fd, num, unix.O_CLOEXEC)
	b.Add(unix.SYS_CLOSE, fd)
	return p.Run(&b)
}

// temp gives a number for what is closed in the end.
func (n *unixNet) temp() int {
	num := n.o.Reserve()
	n.temps = append(n.temps, num)
	return num
}

// socket makes a socket.
func (n *unixNet) socket(typ, num int) error {
	return n.open(num, unix.SYS_SOCKET, unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
}

// pair makes both ends of a connection without names.
func (n *unixNet) pair(typ int, c *Cred, a, b int) error {
	p, err := n.stand.as(c)
	if err != nil {
		return err
	}
	buf := make([]byte, 8)
	if _, err := p.Call(unix.SYS_SOCKETPAIR, unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0, buf); err != nil {
		return err
	}
	first, second := int(binary.LittleEndian.Uint32(buf)), int(binary.LittleEndian.Uint32(buf[4:]))
	if first == b { // out of the way, for the other
		spare := n.o.Reserve()
		if err := n.move(first, spare); err != nil {
			return err
		}
		first = spare
	}
	if second == a {
		spare := n.o.Reserve()
		if err := n.move(second, spare); err != nil {
			return err
		}
		second = spare
	}
	return errors.Join(n.move(first, a), n.move(second, b))
}

// copy gives our own descriptor of one of the builder's.
func (n *unixNet) copy(num int) (int, error) {
	if fd, ok := n.copies[num]; ok {
		return fd, nil
	}
	fd, err := n.o.Copy(num)
	if err == nil {
		n.copies[num] = fd
	}
	return fd, err
}

// closeNow closes a descriptor of the builder, and ours of it.
func (n *unixNet) closeNow(num int) error {
	if fd, ok := n.copies[num]; ok {
		unix.Close(fd)
		delete(n.copies, num)
	}
	_, err := n.builder().Call(unix.SYS_CLOSE, num)
	return err
}

// makeSingle makes a socket that is no end of a connection, and datagram
// sockets that socketpair(2) made.
func (n *unixNet) makeSingle(s *unixSock) error {
	rec := s.rec
	if rec.connected() || s.made {
		return nil
	}
	s.made = true
	var err error
	switch other := n.byID[rec.Peer]; {
	case rec.Type != unix.SOCK_DGRAM || rec.Cred == nil || rec.Peer == 0 && rec.Gone == nil:
		err = n.socket(rec.Type, s.num)
	case rec.Gone != nil:
		s.dead = n.o.Reserve()
		err = n.pair(rec.Type, rec.Cred, s.num, s.dead)
	case other.rec.Peer == rec.ID && other != s:
		other.made = true
		if err = n.pair(rec.Type, rec.Cred, s.num, other.num); err == nil {
			err = n.bind(other)
		}
	default:
		err = n.socket(rec.Type, s.num)
	}
	if err != nil {
		return err
	}
	return n.bind(s)
}

// bind gives a socket its name, and lets it listen.
func (n *unixNet) bind(s *unixSock) error {
	if s.rec.Name != nil {
		ref, err := n.bindName(s.num, s.rec.Name)
		if err != nil {
			return err
		}
		s.ref = ref
	}
	if s.rec.Listen == nil {
		return nil
	}
	p, err := n.stand.as(s.rec.Cred)
	if err != nil {
		return err
	}
	_, err = p.Call(unix.SYS_LISTEN, s.num, s.rec.Listen.Backlog)
	return err
}

// bindName binds a socket, and gives a descriptor by which others find it, or
// -1 for those with an abstract name.
func (n *unixNet) bindName(num int, name *UnixName) (int, error) {
	switch {
	case name.abstract():
		addr := sockaddr(name.Path)
		_, err := n.builder().Call(unix.SYS_BIND, num, addr, len(addr))
		if errors.Is(err, unix.EADDRINUSE) {
			err = &HostError{Why: fmt.Sprintf("another program uses the name %s of a unix socket", printName(name.Path)), Hint: "end it first", Err: err}
		}
		return -1, err
	case name.File == nil:
		fd, err := n.stand.bindInAttic(num, name.Path)
		if err != nil {
			return -1, err
		}
		ref := n.temp()
		return ref, n.move(fd, ref)
	}
	if err := n.stand.bindFile(num, name); err != nil {
		return -1, err
	}
	p, err := n.stand.in(name.File.Dir)
	if err != nil {
		return -1, err
	}
	fd, err := p.Call(unix.SYS_OPEN, string(name.Path), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ref := n.temp()
	return ref, n.move(int(fd), ref)
}

// shutDown closes the directions that were closed, and ends that were.
func (n *unixNet) shutDown(s *unixSock) error {
	fd, err := n.copy(s.num)
	if err != nil {
		return err
	}
	if s.dead < 0 || s.rec.Type == unix.SOCK_DGRAM {
		if how := int(s.rec.Shutdown) - 1; how >= 0 && how <= unix.SHUT_RDWR {
			if err := unix.Shutdown(fd, how); err != nil {
				return err
			}
		}
	}
	if s.dead < 0 {
		return nil
	}
	if s.rec.Gone.Reset {
		// What it leaves unread is why the other end gets ECONNRESET.
		if _, err := sendmsg(fd, []byte{0}, nil, nil); err != nil {
			return err
		}
	}
	return n.closeNow(s.dead)
}

// adjust sets the socket's options and flags.
func (n *unixNet) adjust(s *unixSock) error {
	fd, err := n.copy(s.num)
	if err != nil {
		return err
	}
	if err := s.rec.Buffers.set(fd); err != nil {
		return err
	}
	for _, when := range []when{atFirst, atEnd} {
		if err := setOptions(fd, s.rec.Options, when); err != nil {
			return err
		}
	}
	if err := s.rec.Filter.set(fd); err != nil {
		return err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, s.flags&^unix.O_ASYNC)
	return err
}
