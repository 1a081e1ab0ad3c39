package integration

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// round lets environ.c show its environment, and gives what it says.
func (j *job) round(n int) string {
	j.t.Helper()
	must(j.t, os.WriteFile(j.p.goFile()+"-"+strconv.Itoa(n), nil, 0o644))
	j.says("round "+strconv.Itoa(n), 1)
	begin := "ready\n"
	if n > 1 {
		begin = "round " + strconv.Itoa(n-1) + "\n"
	}
	_, after, _ := strings.Cut(slurp(j.p.logFile()), begin)
	before, _, _ := strings.Cut(after, "round "+strconv.Itoa(n)+"\n")
	return strings.ReplaceAll(strings.TrimSpace(before), "\n", " ")
}

// TestEnvironment changes the environment over three generations, of a program
// whose array is the kernel's, and of one whose array is the C library's.
func TestEnvironment(t *testing.T) {
	long := strings.Repeat("y", 700)
	for name, args := range map[string][]string{"stack": nil, "setenv": {"setenv"}} {
		t.Run(name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				prog := one("environ").supervised().with(args...)
				prog.supervise = nil
				j := &job{holder: p.hold(launch{
					argv: append([]string{supervise, "run", "--name", "job", "--"}, p.argv(prog)...),
					env:  []string{"SAME=s", "SHORT=a-long-value", "LONG=l", "GONE=g", "SHELL_HERE=unused"}}), p: p, prog: prog}
				j.says("ready", 1)
				if got := j.round(1); got != "SAME=s SHORT=a-long-value LONG=l GONE=g NEW=(none)" {
					t.Errorf("at the begin: %s", got)
				}
				added := "n-from-here" // setenv(3) has copied the array: nothing can be added to that
				if args != nil {
					added = "(none)"
				}
				for n, generation := range []struct{ rules, want string }{
					{"# first\nSHORT=a\nLONG=" + long + "\nunset GONE\nNEW=n-$HERE\n",
						"SAME=s SHORT=a LONG=" + long + " GONE=(none) NEW=" + added},
					{"SHORT=${HERE}${HERE}\nLONG=\nNEW=n-$HERE\n", "SAME=s SHORT=from-herefrom-here LONG= GONE=(none) NEW=" + added},
					{"SAME=t\n", "SAME=t SHORT=from-herefrom-here LONG= GONE=(none) NEW=" + added},
				} {
					p.ok("checkpoint", "job", "--stop")
					j.gone()
					file := p.path("work/rules")
					must(t, os.WriteFile(file, []byte(generation.rules), 0o644))
					j = p.restartEnv(prog, "job", []string{"HERE=from-here"}, "--env-file", file)
					if got := j.round(n + 2); got != generation.want {
						t.Errorf("generation %d: %s, want %s", n+1, got, generation.want)
					}
				}
				j.finish(1)
			})
		})
	}
}

// TestEnvironmentRules: a file that makes no sense is refused with the line.
func TestEnvironmentRules(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		p.ok("checkpoint", "job", "--stop")
		j.gone()
		file := p.path("work/rules")
		must(t, os.WriteFile(file, []byte("A=b\nwhat is this\n"), 0o644))
		p.fails(125, "rules:2: neither NAME=VALUE nor unset NAME", "restart", "job", "--env-file", file)
		again := p.restart(j.prog, "job")
		again.finish(1)
	})
}
