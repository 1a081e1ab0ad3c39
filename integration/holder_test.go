package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A user is who runs a test's commands.
type user struct {
	name string
	uid  int
}

var (
	root   = user{"root", 0}
	nobody = user{"user", 65534}
)

// users are those that this test process can become.
func users() []user {
	if os.Getuid() == 0 {
		return []user{root, nobody}
	}
	return []user{{"user", os.Getuid()}}
}

// attr makes a child of ours run as u.
func (u user) attr() *syscall.SysProcAttr {
	if u.uid == os.Getuid() {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
}

// A place is the directory of one test and who works there.
type place struct {
	t    testing.TB
	user user
	dir  string // work, tmp, jobs and what else the test makes
	logs string // go and log files: not put back with the work directory
}

// newPlace makes the directories of a test, which belong to u.
func newPlace(t testing.TB, u user) *place {
	t.Helper()
	dir, err := os.MkdirTemp(baseDir, strings.NewReplacer("/", "_").Replace(t.Name())+"-")
	must(t, err)
	p := &place{t: t, user: u, dir: dir, logs: filepath.Join(dir, "logs")}
	for _, d := range []string{"", "work", "tmp", "jobs", "home", "logs"} {
		name := filepath.Join(dir, d)
		must(t, os.MkdirAll(name, 0o755))
		must(t, os.Chmod(name, 0o755))
		must(t, os.Chown(name, u.uid, u.uid))
	}
	t.Cleanup(func() {
		p.nothingIn("tmp", "home")
		p.noteSysV()
		unmountBelow(t, dir)
		os.RemoveAll(dir)
	})
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// nothingIn fails the test if one of the directories has anything in it.
func (p *place) nothingIn(dirs ...string) {
	for _, d := range dirs {
		entries, err := os.ReadDir(p.path(d))
		if err == nil && len(entries) > 0 {
			p.t.Errorf("left behind in %s: %v", d, entries)
		}
	}
}

// env is the environment of every process of the test.
func (p *place) env(extra ...string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + p.path("home"), "TMPDIR=" + p.path("tmp"), "SUPERVISE_DIR=" + p.path("jobs"),
		"PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8", "TERM=xterm", "PS1=$ ", "HISTFILE=/dev/null",
	}
	return append(env, extra...)
}

// An output collects what processes write to a pipe of ours.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A holder runs one command and keeps whatever it leaves; see holder.c.
type holder struct {
	t        testing.TB
	cmd      *exec.Cmd
	lifeline *os.File
	child    int // pid of the command
	out      output
	copying  sync.WaitGroup // into out

	mu     sync.Mutex
	exits  map[int]syscall.WaitStatus
	closed bool
}

// A launch says how a holder starts a command.
type launch struct {
	flags []string // of the holder
	argv  []string
	tty   *os.File // slave of a terminal, or nil
	env   []string // additional
}

// hold starts a command. The holder and all below it are gone after the test.
func (p *place) hold(l launch) *holder {
	p.t.Helper()
	h := &holder{t: p.t, exits: make(map[int]syscall.WaitStatus)}
	lifeRead, lifeWrite, err := os.Pipe()
	must(p.t, err)
	reportRead, reportWrite, err := os.Pipe()
	must(p.t, err)
	h.lifeline = lifeWrite
	h.cmd = exec.Command(filepath.Join(binDir, "holder"), append(l.flags, l.argv...)...)
	h.cmd.Dir = p.path("work")
	h.cmd.Env = p.env(l.env...)
	h.cmd.SysProcAttr = p.user.attr()
	h.cmd.ExtraFiles = []*os.File{lifeRead, reportWrite}
	ends := h.connect(l.tty)
	must(p.t, h.cmd.Start())
	lifeRead.Close()
	reportWrite.Close()
	for _, f := range ends {
		f.Close()
	}
	report := bufio.NewReader(reportRead)
	if _, err := fmt.Fscanf(report, "start %d\n", &h.child); err != nil {
		p.t.Fatalf("holder: %v: %s", err, h.out.String())
	}
	go h.collect(report)
	p.t.Cleanup(h.close)
	return h
}

// connect gives the command its terminal, or two pipes. It returns our copies
// of the far ends, to be closed.
func (h *holder) connect(tty *os.File) (ends []*os.File) {
	if tty != nil {
		h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = tty, tty, tty
		return nil
	}
	for _, to := range []*io.Writer{&h.cmd.Stdout, &h.cmd.Stderr} {
		r, w, err := os.Pipe()
		must(h.t, err)
		*to = w
		ends = append(ends, w)
		h.copying.Go(func() {
			io.Copy(&h.out, r)
			r.Close()
		})
	}
	return ends
}

// collect notes who has exited.
func (h *holder) collect(report *bufio.Reader) {
	for {
		var pid, status int
		if _, err := fmt.Fscanf(report, "exit %d %d\n", &pid, &status); err != nil {
			return
		}
		h.mu.Lock()
		h.exits[pid] = syscall.WaitStatus(status)
		h.mu.Unlock()
	}
}

// exited tells whether a child of the holder has exited, and how.
func (h *holder) exited(pid int) (syscall.WaitStatus, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.exits[pid]
	return s, ok
}

// close ends the holder and everything below it.
func (h *holder) close() {
	if h.closed {
		return
	}
	h.closed = true
	h.lifeline.Close()
	done := make(chan error, 1)
	go func() { done <- h.cmd.Wait() }()
	select {
	case <-done:
		h.copying.Wait() // nobody is left who could hold the pipes open
	case <-time.After(20 * time.Second):
		h.t.Errorf("the holder of pid %d cannot end: %v", h.child, h.tree())
		h.cmd.Process.Kill()
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// wait polls until cond gives "", or fails with what it gave last.
func wait(t testing.TB, what string, limit time.Duration, cond func() string) {
	t.Helper()
	end := time.Now().Add(limit)
	pause := time.Millisecond
	for {
		why := cond()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v: %s", what, limit, why)
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}
