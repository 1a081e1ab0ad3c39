package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// documented takes an example out of docs/plugins.md: the indented lines after
// a heading, of which there may be no more than 20 that say something.
func documented(t testing.TB, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/plugins.md")
	must(t, err)
	_, after, found := strings.Cut(string(text), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("docs/plugins.md has no %q", heading)
	}
	var code strings.Builder
	lines := 0
	for line := range strings.Lines(after) {
		switch rest, indented := strings.CutPrefix(line, "    "); {
		case indented:
			code.WriteString(rest)
			if text := strings.TrimSpace(rest); text != "" && text != "}" && !strings.HasPrefix(text, "//") && !strings.HasPrefix(text, "#") {
				lines++
			}
		case code.Len() > 0 && strings.TrimSpace(line) != "":
			return code.String()
		case code.Len() > 0:
			code.WriteString("\n")
		}
	}
	if lines > 20 {
		t.Errorf("%s: %d lines", heading, lines)
	}
	return code.String()
}

// example writes an example and a manifest that names it.
func (p *place) example(name, code string, events string) string {
	p.t.Helper()
	file := filepath.Join(p.logs, name)
	must(p.t, os.WriteFile(file, []byte(code), 0o755))
	if go_, isGo := strings.CutSuffix(name, ".go"); isGo {
		name = go_
		must(p.t, command([]string{"CGO_ENABLED=0"}, "go", "build", "-o", filepath.Join(p.logs, name), file))
	}
	manifest := filepath.Join(p.logs, name+".json")
	must(p.t, os.WriteFile(manifest, fmt.Appendf(nil, `{"name":%q,"command":["./%s"],"events":[%s],"deadline_ms":20000}`, name, name, events), 0o644))
	return manifest
}

// TestFirstPlugins runs the plugins of docs/plugins.md as they stand there.
func TestFirstPlugins(t *testing.T) {
	forUsers(t, func(p *place) {
		busy := p.path("work/busy")
		shell := p.example("busy.sh", documented(t, "In 20 lines of shell"), `"before-freeze"`)
		python := p.example("server.py", documented(t, "In 20 lines of Python"), `"before-freeze","before-restart"`)
		enough := p.example("enough.go", documented(t, "In 20 lines of Go"), `"before-freeze"`)
		s := newServer(p.t)
		old := s.listen("tcp", "127.0.0.1:0")
		prog := one("callers").with("tcp:"+old).under("--plugin", shell, "--plugin", python, "--plugin", enough)
		j := p.start(prog)
		take := func(env ...string) result {
			return p.supervise(append(env, "BUSY="+busy), "checkpoint", "job", "--stop")
		}
		must(t, os.WriteFile(busy, nil, 0o644))
		if r := take("SERVER=" + old); r.code != 1 || !strings.Contains(r.err, "busy.sh refuses at before-freeze: a backup is running") {
			t.Errorf("during a backup: %d %s", r.code, r.err)
		}
		must(t, os.Remove(busy))
		for range 3 {
			if r := take("SERVER=" + old); r.code != 0 {
				t.Fatalf("checkpoint: %d %s", r.code, r.err)
			}
			j.gone()
			now := s.listen("tcp", "127.0.0.1:0")
			j = p.restartEnv(prog, "job", []string{"SERVER=" + now})
			old = now
		}
		if env := slurp(procPath(j.root, "environ")); !strings.Contains(env, "SERVER="+old) {
			t.Errorf("the environment has not SERVER=%s", old)
		}
		if r := take("SERVER=" + old); r.code != 1 || !strings.Contains(r.err, "enough refuses at before-freeze: that is enough") {
			t.Errorf("of generation 3: %d %s", r.code, r.err)
		}
		j.fates("alive", "-", 1)
	})
}
