package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRestoreHandsOn: when a tree is replaced by a snapshot of itself, what run or
// restart was told about it holds on, and is looked at while there is a way back.
func TestRestoreHandsOn(t *testing.T) {
	forUsers(t, func(p *place) {
		said, told, env := filepath.Join(p.logs, "said"), filepath.Join(p.logs, "told"), p.path("env.rules")
		sees := func(want string) {
			t.Helper()
			must(t, os.WriteFile(said, nil, 0o666))
			wait(t, "what the program sees", 20*time.Second, func() string {
				if got := strings.TrimSpace(slurp(said)); got != want {
					return "it sees " + got
				}
				return ""
			})
		}
		prog := asking("tells", said)
		j := &job{holder: p.hold(launch{env: []string{"MARK=" + strings.Repeat("a", 20)}, argv: append([]string{supervise, "run", "--name", "job",
			"--no-io-uring", "--virtualize", filepath.Join(dataDir, "other.rules"), "--"}, p.argv(prog)...)}), p: p, prog: prog}
		j.says("ready", 1)
		p.ok("request", "checkpoint", "--job", "job")
		p.ok("request", "restore", "--job", "job")
		sees("other.example.org MARK=" + strings.Repeat("a", 20) + " 1")
		j.killTree()
		j.close()

		rules := p.path("host.rules")
		must(t, os.WriteFile(rules, []byte(slurp(filepath.Join(dataDir, "hostname.rules"))), 0o644))
		must(t, os.WriteFile(env, []byte("MARK=b\n"), 0o644))
		j = p.restart(prog, "job@1", "--virtualize", rules, "--env-file", env, "--on-restart", "echo restarted >>"+told,
			"--interval", "1h", "--keep", "7", "--tcp", "close", "--force", "--net", "as-before")
		for range 2 {
			p.ok("request", "restore", "--job", "job", "1")
			sees("old.example.org MARK=b 1")
		}
		if got := strings.Count(slurp(told), "restarted\n"); got != 3 {
			t.Errorf("the hook has run %d times, not at each of 3 restarts", got)
		}
		words := strings.ReplaceAll(slurp(procPath(j.child, "cmdline")), "\x00", " ")
		for _, flag := range []string{"--tcp=close", "--force", "--net=as-before", "--interval 1h0m0s", "--keep 7", "--on-restart=echo"} {
			if strings.Count(words, flag) != 1 {
				t.Errorf("%s is not handed on once: %s", flag, words)
			}
		}
		must(t, os.WriteFile(rules, []byte("hostnam x\n"), 0o644))
		p.fails(1, "host.rules:1: ", "request", "restore", "--job", "job", "1")
		must(t, os.Remove(env))
		must(t, os.WriteFile(rules, []byte("hostname old.example.org\n"), 0o644))
		p.fails(1, "env.rules", "request", "restore", "--job", "job", "1")
		sees("old.example.org MARK=b 1")
		must(t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		j.close()
	})
}
