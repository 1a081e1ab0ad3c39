package integration

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRun checks that supervise run is as if it were not there.
func TestRun(t *testing.T) {
	cases := []struct {
		name string
		argv []string
		code int
		out  string
	}{
		{"exit status", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"killed", []string{"sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{"killed for good", []string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{"output", []string{"echo", "hello"}, 0, "hello\n"},
		{"not found", []string{"/nosuchprogram"}, 127, ""},
		{"not executable", []string{"/etc/passwd"}, 126, ""},
		{"environment", []string{"sh", "-c", "echo $MARK; umask; pwd; ulimit -n"}, 0, "here\n"},
		{"daemon", []string{"sh", "-c", "(sleep 0.2; echo late) & exit 4"}, 4, ""},
	}
	forUsers(t, func(p *place) {
		for _, c := range cases {
			env := []string{"MARK=here"}
			r := p.supervise(env, append([]string{"run", "--"}, c.argv...)...)
			if r.code != c.code || !strings.HasPrefix(r.out, c.out) {
				p.t.Errorf("%s: exit code %d, output %q, want %d %q\n%s", c.name, r.code, r.out, c.code, c.out, r.err)
			}
		}
	})
}

// TestByName takes snapshots of a job by its name, where jobs have them.
func TestByName(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		for _, n := range []string{"0001", "0002"} {
			r := p.supervise(nil, "checkpoint", "job", "--json")
			var facts struct {
				Image     string
				Processes int
				PauseNS   int64 `json:"pause_ns"`
			}
			if err := json.Unmarshal([]byte(r.out), &facts); err != nil || r.code != 0 {
				p.t.Fatalf("checkpoint job: exit code %d, %v\n%s%s", r.code, err, r.out, r.err)
			}
			if want := p.path("jobs/job/" + n); facts.Image != want || facts.Processes != 2 || facts.PauseNS <= 0 {
				p.t.Errorf("snapshot: %+v, want it in %s", facts, want)
			}
			j.undisturbed(before)
		}
		private(p.t, p.path("jobs/job/0001"))
		j.killTree()
		j.close()
		again := p.restart(j.prog, p.path("jobs/job/0002"))
		again.like(before)
		if r := p.supervise(nil, "checkpoint", "job", "--stop"); r.code != 0 {
			p.t.Errorf("checkpoint of the restarted job: exit code %d\n%s", r.code, r.err)
		}
		again.gone()
		again = p.restart(j.prog, p.path("jobs/job/0003"))
		again.like(before)
		again.finish(1)
	})
}

// private checks that only its owner can read an image.
func private(t testing.TB, image string) {
	must(t, filepath.WalkDir(image, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	}))
}

// TestSupervisorKilled kills the supervisor of a running job: the program does
// not notice, and snapshots are still possible.
func TestSupervisorKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		j.killSupervisor()
		// Its session and group were its supervisor's; there they have no leader now.
		expect(p.t, "after the death of its supervisor", before, j.observe, always, detached)
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		again := p.restart(j.prog, p.path("image"))
		again.like(before)
		again.finish(1)
	})
}

// TestCheck wants to hear that everything works here: the tests rely on it.
func TestCheck(t *testing.T) {
	forUsers(t, func(p *place) {
		r := p.supervise(nil, "check", "--json")
		var facts struct {
			Snapshot, Restart bool
			Features          []struct{ Name, Why string }
		}
		if err := json.Unmarshal([]byte(r.out), &facts); err != nil {
			p.t.Fatalf("%v: %s%s", err, r.out, r.err)
		}
		if !facts.Snapshot || !facts.Restart || r.code != 0 {
			p.t.Errorf("exit code %d: %s", r.code, r.out)
		}
		if text := p.supervise(nil, "check"); text.code != 0 || !strings.Contains(text.out, facts.Features[0].Name) {
			p.t.Errorf("check: exit code %d\n%s%s", text.code, text.out, text.err)
		}
	})
}

var update = flag.Bool("update", false, "write testdata/golden anew")

// volatile are the parts of inspect that differ each time.
var volatile = []struct {
	match *regexp.Regexp
	to    string
}{
	{regexp.MustCompile(`/\S*supervise-integration-[^\s"]*/work`), "WORK"},
	{regexp.MustCompile(`/\S*supervise-integration-[^\s",]*`), "PATH"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+ by supervise .*, `), "DATE by supervise VERSION, "},
	{regexp.MustCompile(`(?m)^host .*`), "host HOST"},
	{regexp.MustCompile(`(pipe|socket):\[\d+\]`), "$1:[N]"},
	{regexp.MustCompile(`\b7f[0-9a-f]{6,10}\b|\b5[56][0-9a-f]{10}\b`), "ADDR"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms|s)\b`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [KM]iB`), "SIZE"},
	{regexp.MustCompile(`\bpid \d+|pipes-\d+|\b\d{3,6}\b`), "N"},
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(`( mapping .*\n)+`), " mapping ...\n"}, // of libraries as they are on this host
}

// TestInspectGolden compares what inspect prints, without what differs each
// time, with testdata/golden.
func TestInspectGolden(t *testing.T) {
	p := newPlace(t, users()[len(users())-1])
	p.fresh(row(t, "pipes"), p.path("image"))
	for _, command := range []string{"inspect", "verify"} {
		r := p.supervise(nil, command, p.path("image"))
		if r.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", command, r.code, r.err)
		}
		got := r.out
		for _, v := range volatile {
			got = v.match.ReplaceAllString(got, v.to)
		}
		golden := filepath.Join("testdata", "golden", command+".txt")
		if *update {
			must(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			must(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want := strings.Split(slurp(golden), "\n")
		if lines := strings.Split(got, "\n"); !slices.Equal(lines, want) {
			t.Errorf("%s prints something else (go test -update writes it):\n%s", command, diff(want, lines))
		}
	}
	if r := p.supervise(nil, "inspect", p.path("image"), "--json"); r.code != 0 || !json.Valid([]byte(r.out)) {
		t.Errorf("inspect --json: exit code %d, %.200s\n%s", r.code, r.out, r.err)
	}
}
