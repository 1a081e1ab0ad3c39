package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// Reply is what a plugin says to an event.
type Reply struct {
	Reply  int64  `json:"reply"`
	Refuse string `json:"refuse"`

	Blobs       map[string][]byte  `json:"blobs"`       // to be kept in the image
	Environment map[string]*string `json:"environment"` // before-restart: variables of the tree; null removes one
	Descriptors []Given            `json:"descriptors"` // before-restart: as many as came by SCM_RIGHTS with this line

	Exclude []string `json:"exclude"` // before-freeze, frozen: memory to be left out, see Undumped

	// Before-restart, too: old names of the host, and new ones.
	Paths     map[string]string `json:"paths"`
	Addresses map[string]string `json:"addresses"`
	Hostname  string            `json:"hostname"`
}

// told is what a plugin hears: an event, with what it has stored.
type told struct {
	client.Event
	Blobs map[string][]byte `json:"blobs,omitempty"`
}

// process is a plugin that runs. Its standard input and output are one unix
// socket, so that descriptors can be handed over.
type process struct {
	plugin *Plugin
	cmd    *exec.Cmd
	ours   *os.File // nil for a hook
	stderr tail
	exited chan error
	seq    int64
	in     []byte // of a line that has not come whole
	fds    []int  // that came with it
}

// startElsewhere starts a plugin on another thread: this one may have signals
// blocked, or be kept on one cpu.
func startElsewhere(p *Plugin, e client.Event) (run *process, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run, err = start(p, e)
	}()
	<-done
	return run, err
}

// start starts a plugin.
func start(p *Plugin, e client.Event) (*process, error) {
	run := &process{plugin: p, exited: make(chan error, 1)}
	run.cmd = exec.Command(p.path(), p.Command[1:]...)
	run.cmd.Env = append(os.Environ(), variables(e)...)
	run.cmd.Stderr = &run.stderr
	run.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it can be killed
	run.cmd.WaitDelay = time.Second                           // its children may hold its output
	var theirs *os.File
	if !p.shell {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("socketpair: %w", err)
		}
		if err := unix.SetNonblock(fds[0], true); err != nil {
			return nil, err
		}
		run.ours, theirs = os.NewFile(uintptr(fds[0]), p.Name), os.NewFile(uintptr(fds[1]), p.Name)
		run.cmd.Stdin, run.cmd.Stdout = theirs, theirs
		defer theirs.Close()
	}
	if err := run.cmd.Start(); err != nil {
		if run.ours != nil {
			run.ours.Close()
		}
		return nil, err
	}
	go func() { run.exited <- run.cmd.Wait() }()
	return run, nil
}

// variables tell a shell command what it is about.
func variables(e client.Event) []string {
	v := []string{"SUPERVISE_EVENT=" + e.Name, "SUPERVISE_REASON=" + e.Reason}
	if f := e.Snapshot; f != nil {
		v = append(v, "SUPERVISE_JOB="+f.Job, "SUPERVISE_IMAGE="+f.Image, "SUPERVISE_ROOT_PID="+strconv.Itoa(f.RootPID),
			"SUPERVISE_GENERATION="+strconv.Itoa(f.Generation))
	}
	return v
}

// ask tells a plugin of an event, and waits for its reply until the deadline.
// Who is only told of what has happened needs not reply.
func (run *process) ask(e client.Event, blobs map[string][]byte) (*Reply, error) {
	if run.plugin.shell {
		return nil, nil // its end is the reply
	}
	run.seq++
	e.Seq = run.seq
	b, err := json.Marshal(told{e, blobs})
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(e.Deadline) * time.Millisecond)
	if err := run.ours.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := run.ours.Write(append(b, '\n')); err != nil {
		return nil, run.explain(err, e.Deadline)
	}
	line, err := run.line()
	if err != nil {
		return nil, run.explain(err, e.Deadline)
	}
	r := new(Reply)
	if err := json.Unmarshal(line, r); err != nil {
		return nil, fmt.Errorf("it says %.100q, which is no reply: %w", line, err)
	}
	if r.Reply != e.Seq {
		return nil, fmt.Errorf("it replies to event %d when it is asked about %d", r.Reply, e.Seq)
	}
	return run.check(r)
}

// check looks at a reply, and gives it the descriptors that came with it.
func (run *process) check(r *Reply) (*Reply, error) {
	fds := run.fds
	run.fds = nil
	if r.Refuse != "" || len(fds) != len(r.Descriptors) {
		for _, fd := range fds {
			closeFD(fd)
		}
	}
	if r.Refuse != "" {
		return nil, errors.New(r.Refuse)
	}
	if len(fds) != len(r.Descriptors) {
		return nil, fmt.Errorf("it names %d descriptors, and %d came", len(r.Descriptors), len(fds))
	}
	for i := range r.Descriptors {
		r.Descriptors[i].Our = fds[i]
	}
	return r, nil
}

// line reads one line, and the descriptors that come with it.
func (run *process) line() ([]byte, error) {
	raw, err := run.ours.SyscallConn()
	if err != nil {
		return nil, err
	}
	buf, oob := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(64*4))
	for {
		if line, rest, whole := bytes.Cut(run.in, []byte{'\n'}); whole {
			run.in = bytes.Clone(rest)
			return line, nil
		}
		if len(run.in) > client.MaxLine+maxBlobs*4/3 {
			return nil, errors.New("it floods: a line does not end")
		}
		var n, oobn int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, got = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			return got != unix.EAGAIN && got != unix.EINTR
		})
		switch {
		case err != nil:
			return nil, err
		case got != nil:
			return nil, got
		case n == 0:
			return nil, io.EOF
		}
		run.in = append(run.in, buf[:n]...)
		run.fds = append(run.fds, rights(oob[:oobn])...)
	}
}

// rights gives the descriptors in a control message.
func rights(oob []byte) (all []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

func closeFD(fd int) { _ = unix.Close(fd) }

// explain says what a plugin has done instead of replying.
func (run *process) explain(err error, deadline int64) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no reply within %v%s", time.Duration(deadline)*time.Millisecond, run.said())
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		select { // what it has said comes with its end
		case ended := <-run.exited:
			run.exited <- ended
		case <-time.After(time.Second):
		}
		return fmt.Errorf("it ended before it replied%s", run.said())
	}
	return err
}

// said is what it wrote to standard error last.
func (run *process) said() string {
	if text := strings.TrimSpace(run.stderr.String()); text != "" {
		return ": " + text
	}
	return ""
}

// end lets a plugin end by itself, and tells if it does not, or with an error.
func (run *process) end(patience time.Duration) error {
	if run.ours != nil {
		run.ours.Close()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-run.exited:
		run.exited <- err
		// A supervisor waits for any child, and may have been quicker.
		if err != nil && !errors.Is(err, exec.ErrWaitDelay) && !errors.Is(err, unix.ECHILD) {
			return fmt.Errorf("%w%s", err, run.said())
		}
		return nil
	case <-late.C:
		return fmt.Errorf("it does not end within %v%s", patience, run.said())
	}
}

// kill ends a plugin and what it has started.
func (run *process) kill() {
	if run.ours != nil {
		run.ours.Close()
	}
	for _, fd := range run.fds {
		closeFD(fd)
	}
	run.fds = nil
	_ = unix.Kill(-run.cmd.Process.Pid, unix.SIGKILL)
	<-run.exited
	run.exited <- nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 1000
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - most; extra > 0 {
		t.kept = bytes.Clone(t.kept[extra:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
