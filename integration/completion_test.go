package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// prepareCompletion makes jobs with snapshots to complete, and writes the
// script of a shell.
func prepareCompletion(p *place, shell string) (script string) {
	for _, dir := range []string{"jobs/simulation/0001", "jobs/simulation/0012", "jobs/other/0003", "work/some dir"} {
		must(p.t, os.MkdirAll(p.path(dir), 0o755))
	}
	r := p.supervise(nil, "completion", shell)
	if r.code != 0 || r.out == "" {
		p.t.Fatalf("completion %s: exit code %d: %s", shell, r.code, r.err)
	}
	script = p.path("completion." + shell)
	must(p.t, os.WriteFile(script, []byte(r.out), 0o644))
	return script
}

// typed are lines that end with a tab, and the last word that must come out.
var typed = []struct{ line, word string }{
	{"supervise rest", "restart"},
	{"supervise restart --trunc", "--truncate-files"},
	{"supervise restart simu", "simulation"},
	{"supervise restart simulation@000", "simulation@0001"},
	{"supervise restart --stdout=nu", "--stdout=null"},
	{"supervise restart --stdout inh", "inherit"},
	{"supervise images remove other@", "other@0003"},
	{"supervise inspect --dir some", "some dir"},
	{"supervise restart --pid-file=some", "--pid-file=some dir"},
	{"supervise run -- unam", "uname"},
}

// TestCompletion types at an interactive bash and zsh, and asks fish.
func TestCompletion(t *testing.T) {
	for shell, argv := range map[string][]string{
		"bash": {"/bin/bash", "--norc", "--noprofile", "-i"},
		"zsh":  {"/bin/zsh", "-f", "-i"},
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, users()[len(users())-1])
			script := prepareCompletion(p, shell)
			term := p.newTerminal(24, 250)
			sh := p.hold(launch{flags: []string{"-t"}, tty: term.slave, argv: argv})
			if shell == "zsh" {
				term.send("unsetopt zle_bracketed_paste prompt_sp; PS1='$ '; autoload -U compinit; compinit -D -u\r")
			}
			term.send("PATH=" + filepath.Dir(supervise) + ":$PATH; set -o emacs; source " + script + "; echo re''ady\r")
			term.expect("ready\r?\n")
			for _, c := range typed {
				term.send(c.line + "\t\x01printf '<%s>' \r") // and show the words
				term.expect("<supervise>.*<" + regexp.QuoteMeta(c.word) + "/?>")
			}
			term.send("exit\r")
			sh.nothingLeft("after exit")
			sh.close()
		})
	}
	t.Run("fish", func(t *testing.T) {
		p := newPlace(t, users()[len(users())-1])
		script := prepareCompletion(p, "fish")
		for _, c := range typed {
			cmd := exec.Command("/usr/bin/fish", "--no-config", "-c", "source "+script+"; complete -C '"+c.line+"'")
			cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), p.env("PATH="+filepath.Dir(supervise)+":/usr/bin:/bin"), p.user.attr()
			out, err := cmd.CombinedOutput()
			if words := strings.ReplaceAll(string(out), `\`, ""); err != nil || !strings.Contains("\n"+words, "\n"+c.word) {
				t.Errorf("%q: %v: %q has no %q", c.line, err, out, c.word)
			}
		}
		must(t, os.RemoveAll(p.path("home"))) // where fish keeps its history
	})
}
