package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A result is how a command of supervise ended.
type result struct {
	code     int // exit code, or 128 and the signal
	out, err string
}

// supervise runs a command of supervise to its end.
func (p *place) supervise(env []string, args ...string) result {
	p.t.Helper()
	return p.command(env, append([]string{supervise}, args...)...)
}

// command is supervise with a command before it.
func (p *place) command(env []string, argv ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), p.env(env...), p.user.attr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // tells where it hangs
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		p.t.Errorf("supervise %v hangs: %s", argv, errs.String())
	}
	return result{code: exitCode(p.t, err), out: out.String(), err: errs.String()}
}

// exitCode is what a shell would have in $?.
func exitCode(t testing.TB, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return shellStatus(exit.Sys().(syscall.WaitStatus))
	}
	t.Helper()
	t.Fatal(err)
	return -1
}

func shellStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// checkpoint takes a snapshot that must succeed.
func (p *place) checkpoint(target, image string, args ...string) {
	p.t.Helper()
	r := p.supervise(nil, append([]string{"checkpoint", target, "--image", image}, args...)...)
	if r.code != 0 {
		p.t.Fatalf("checkpoint: exit code %d\n%s", r.code, r.err)
	}
}

// A job is one life of a tree: started, or restarted.
type job struct {
	*holder
	p    *place
	prog program
	root int      // host pid of the root
	args []string // of the restart
}

func (p *place) goFile() string  { return filepath.Join(p.logs, "go") }
func (p *place) logFile() string { return filepath.Join(p.logs, "log") }

// argv is the command of a program in this place.
func (p *place) argv(prog program) []string {
	return append(append(prog.argv(), p.goFile(), p.logFile()), prog.args...)
}

// start starts a program and waits until it is ready.
func (p *place) start(prog program) *job {
	p.t.Helper()
	l := launch{argv: p.argv(prog)}
	if prog.run {
		flags := prog.supervise
		if prog.rules != "" {
			flags = append([]string{"--virtualize", filepath.Join(dataDir, prog.rules)}, flags...)
		}
		l.argv = slices.Concat([]string{supervise, "run", "--name", "job"}, flags, []string{"--"}, l.argv)
	}
	if prog.lead {
		l.flags = []string{"-s"}
	}
	j := &job{holder: p.hold(l), p: p, prog: prog}
	j.says("ready", 1)
	j.root = j.child
	if prog.run {
		j.root = j.tree()[0]
	}
	return j
}

// says waits until the log has a line n times. FAIL in the log fails the test.
func (j *job) says(line string, n int) {
	j.t.Helper()
	wait(j.t, j.prog.name+" says "+line, 40*time.Second, func() string {
		log := slurp(j.p.logFile())
		if strings.Contains(log, "FAIL") {
			j.t.Fatalf("the program found: %s\n%s", log, j.out.String())
		}
		if countLines(log, line) >= n {
			return ""
		}
		if s, ok := j.exited(j.child); ok && j.child != 0 {
			return "exited: status " + strconv.Itoa(shellStatus(s)) + "\nlog: " + log + "\noutput: " + j.out.String() + "\n" + j.now()
		}
		return "log: " + log + "\noutput: " + j.out.String() + "\n" + j.now()
	})
}

// countLines tells how often a line is in a log.
func countLines(log, line string) (n int) {
	for l := range strings.Lines(log) {
		if l == line+"\n" {
			n++
		}
	}
	return n
}

// now tells where every thread is.
func (j *job) now() string {
	var b strings.Builder
	for _, p := range descendants(j.cmd.Process.Pid) {
		for _, tid := range numbers(procPath(p, "task")) {
			dir := procPath(p, "task", strconv.Itoa(tid))
			b.WriteString(dir + " " + strings.TrimSpace(slurp(dir, "comm")) + " " + statField(dir+"/stat", 3) + " " + slurp(dir, "syscall"))
			if b.Len() > 2000 {
				return b.String() + "..."
			}
		}
	}
	return b.String()
}

// settle waits until the tree is quiet.
func (j *job) settle() state {
	j.t.Helper()
	return settle(j.t, j.tree, j.root, j.prog.how)
}

func (j *job) observe() state { return observe(j.tree(), j.root, j.prog.how) }

// finish lets the program check itself and end, as the n-th on this log.
func (j *job) finish(n int) {
	j.t.Helper()
	must(j.t, os.WriteFile(j.p.goFile(), nil, 0o644))
	j.says("ok", n)
	j.ended()
}

// killSupervisor kills the supervisor of a job that was started under one.
func (j *job) killSupervisor() {
	j.t.Helper()
	j.p.kill(j.child)
	wait(j.t, "death of the supervisor", 5*time.Second, func() string {
		if _, ok := j.exited(j.child); ok {
			return ""
		}
		return "lives"
	})
}

// ended checks that the program ended well and that nothing is left.
func (j *job) ended() {
	j.t.Helper()
	wait(j.t, "end of the tree", 20*time.Second, func() string {
		if left := descendants(j.cmd.Process.Pid); len(left) > 0 {
			return "left: " + strings.Join(states(left), ", ")
		}
		return ""
	})
	wait(j.t, "exit status", 10*time.Second, func() string {
		s, ok := j.exited(j.child)
		if !ok {
			return "not told"
		}
		if code := shellStatus(s); code != 0 {
			j.t.Errorf("%s ended with %d: %s", j.prog.name, code, j.out.String())
		}
		return ""
	})
	j.close()
}

// restart brings a tree back from an image, in the foreground or detached.
func (p *place) restart(prog program, image string, args ...string) *job {
	p.t.Helper()
	return p.restartEnv(prog, image, nil, args...)
}

// restartEnv is restart with more environment variables.
func (p *place) restartEnv(prog program, image string, env []string, args ...string) *job {
	p.t.Helper()
	return p.restartBy(nil, prog, image, env, args...)
}

// restartBy is restartEnv by a command that runs supervise.
func (p *place) restartBy(by []string, prog program, image string, env []string, args ...string) *job {
	p.t.Helper()
	pidFile := filepath.Join(p.dir, "pid-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	argv := slices.Concat(by, []string{supervise, "restart", image, "--pid-file", pidFile}, args)
	j := &job{holder: p.hold(launch{argv: argv, env: env}), p: p, prog: prog, args: args}
	wait(p.t, "restart", 120*time.Second, func() string {
		if pid, err := strconv.Atoi(strings.TrimSpace(slurp(pidFile))); err == nil {
			j.root = pid
			return ""
		}
		if s, ok := j.exited(j.child); ok && slurp(pidFile) == "" {
			p.t.Fatalf("restart: exit code %d\n%s", shellStatus(s), j.out.String())
		}
		return "no pid file: " + j.out.String()
	})
	return j
}

// rules are those for comparing this restarted tree with an earlier one.
func (j *job) rules() [][]rule {
	sets := [][]rule{always, afterRestart}
	if slices.Contains(j.args, "--detach") && (j.prog.run || !j.prog.lead) {
		sets = append(sets, detached)
	}
	if j.p.user.uid != 0 {
		sets = append(sets, userNamespace)
	}
	return sets
}

// like checks that the restarted tree is as it was before.
func (j *job) like(before state) {
	j.t.Helper()
	expect(j.t, "after the restart", before, j.observe, j.rules()...)
}
