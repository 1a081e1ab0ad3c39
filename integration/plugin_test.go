package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// plugin writes a plugin in Python and its manifest, and gives the manifest.
func (p *place) plugin(name, manifest, code string) string {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.logs, name+".py"), []byte(pluginHead+code), 0o755))
	file := filepath.Join(p.logs, name+".json")
	text := fmt.Sprintf(`{"name":%q,"command":["/usr/bin/python3",%q,%q],%s}`, name, filepath.Join(p.logs, name+".py"), filepath.Join(p.logs, "told"), manifest)
	must(p.t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// pluginHead is what the plugins of tests have in common: they note what they
// are told.
const pluginHead = `
import array, base64, json, os, socket, sys, time
def note(text):
    with open(sys.argv[1], "a") as f: f.write(text + "\n")
def events():
    for line in sys.stdin:
        e = json.loads(line)
        yield e
def reply(e, **more):
    print(json.dumps(dict(reply=e["seq"], **more)), flush=True)
`

// told is what plugins and hooks have noted.
func (p *place) told() string {
	return strings.ReplaceAll(strings.TrimSpace(slurp(filepath.Join(p.logs, "told"))), "\n", " ")
}

const allEvents = `"events":["before-freeze","frozen","captured","resumed","committed","failed","before-restart","restored","restarted","gone"]`

// noting is a plugin that takes part in everything.
func (p *place) noting(name, start string) string {
	return p.plugin(name, allEvents+`,"start":"`+start+`"`, `
for e in events():
    note(f"`+name+`:{e['event']}")
    reply(e)
`)
}

// TestPluginOrder: down in order, up in the reverse one; the same at a restart,
// where those of the image come first.
func TestPluginOrder(t *testing.T) {
	for _, start := range []string{"operation", "event"} {
		t.Run(start, func(t *testing.T) {
			forUsers(t, func(p *place) {
				prog := one("pipes").under("--plugin", p.noting("a", start), "--on-checkpoint", "echo hook:$SUPERVISE_EVENT >> "+p.logs+"/told",
					"--on-restart", "echo hook:$SUPERVISE_EVENT:$SUPERVISE_GENERATION >> "+p.logs+"/told")
				j := p.start(prog)
				before := j.settle()
				p.ok("checkpoint", "job", "--plugin", p.noting("b", start))
				j.undisturbed(before)
				want := "a:before-freeze hook:before-freeze b:before-freeze a:frozen b:frozen a:captured b:captured b:resumed a:resumed b:committed a:committed"
				if got := p.told(); got != want {
					t.Errorf("a snapshot: told %s\nwant %s", got, want)
				}
				j.killTree()
				j.close()
				must(t, os.Remove(filepath.Join(p.logs, "told")))
				again := p.restart(prog, "job")
				again.like(before)
				again.finish(1)
				want = "a:before-restart b:before-restart a:restored b:restored b:restarted hook:restarted:1 a:restarted b:gone a:gone"
				if got := p.told(); got != want {
					t.Errorf("a restart: told %s\nwant %s", got, want)
				}
			})
		})
	}
}

// badPlugins are plugins that do not behave, and what is said of them.
var badPlugins = []struct{ name, code, why string }{
	{"hangs", "for e in events(): time.sleep(60)", "no reply within 300ms"},
	{"sleeps", "time.sleep(60)", "no reply within 300ms"},
	{"dies", "sys.exit('I am not well')", "I am not well"},
	{"exits", "for e in events(): sys.exit(0)", "it ended before it replied"},
	{"floods", "while True: sys.stdout.write('x' * 100000)", ""},
	{"chatters", "while True: print('hello', flush=True)", "which is no reply"},
	{"lies", "for e in events(): print('{\"reply\": 7}', flush=True)", "it replies to event 7 when it is asked about 1"},
	{"fewer", "for e in events(): reply(e, descriptors=[{'fd': 1}])", "it names 1 descriptors, and 0 came"},
	{"hoards", "for e in events(): reply(e, blobs={'x': base64.b64encode(b'x' * (17 << 20)).decode()})", ""},
	{"refuses", "for e in events(): reply(e, refuse='a transaction is open')", "a transaction is open"},
}

// TestBadPlugins: each costs a bounded time, the error says what it did, and
// the tree runs on; or its failure is ignored, and there is a snapshot.
func TestBadPlugins(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		for _, bad := range badPlugins {
			for _, event := range []string{"before-freeze", "frozen", "captured"} {
				deadline := "300"
				if bad.name != "hangs" && bad.name != "sleeps" {
					deadline = "20000" // Python takes its time to start
				}
				if event != "before-freeze" && bad.name != "hangs" && bad.name != "dies" {
					continue
				}
				if bad.name == "floods" {
					deadline = "2000"
				}
				file := p.plugin(bad.name, `"events":["`+event+`"],"deadline_ms":`+deadline, bad.code)
				start := time.Now()
				p.fails(1, bad.why, "checkpoint", "job", "--plugin", file)
				if d := time.Since(start); d > 30*time.Second {
					t.Errorf("%s at %s takes %v", bad.name, event, d)
				}
				j.undisturbed(before)
			}
		}
		if n := p.newest("job"); n != 0 {
			t.Errorf("there is a snapshot %d", n)
		}
		ignored := p.plugin("ignored", `"events":["before-freeze"],"failure":"ignore"`, "sys.exit('I am not well')")
		r := p.supervise(nil, "checkpoint", "job", "--plugin", ignored)
		if r.code != 0 || !strings.Contains(r.err, "I am not well") {
			t.Errorf("ignored: %d %s", r.code, r.err)
		}
		p.fails(1, "exit status 3", "checkpoint", "job", "--on-checkpoint", "exit 3")
		p.fails(2, "no such file", "checkpoint", "job", "--plugin", "/no/such/plugin")
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestBadPluginsAtRestart: nothing is left of a tree that a plugin does not
// want.
func TestBadPluginsAtRestart(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.ok("checkpoint", "job", "--stop")
		j.gone()
		for _, event := range []string{"before-restart", "restored"} {
			file := p.plugin("refuses", `"events":["`+event+`"]`, "for e in events(): reply(e, refuse='not here')")
			p.fails(125, "refuses at "+event+": not here", "restart", "job", "--plugin", file)
		}
		again := p.restart(j.prog, "job", "--on-restart", "exit 1")
		again.like(before)
		again.finish(1)
	})
}

// TestBlobs: what a plugin stores in the image it gets back, over three
// generations, and changes the environment with it.
func TestBlobs(t *testing.T) {
	forUsers(t, func(p *place) {
		keeps := p.plugin("keeps", `"events":["before-freeze","captured","before-restart"]`, `
for e in events():
    if e["event"] == "before-restart":
        blobs = {k: base64.b64decode(v).decode() for k, v in e["blobs"].items()}
        note(" ".join(f"{k}={blobs[k]}" for k in sorted(blobs)))
        reply(e, environment={"LONG": blobs["count"], "GONE": None})
    else:
        n = str(e["snapshot"]["generation"]) if e["event"] == "captured" else "?"
        reply(e, blobs={"count": base64.b64encode(n.encode()).decode(), e["event"]: base64.b64encode(b"was here").decode()})
`)
		prog := one("environ").under("--plugin", keeps)
		j := p.start(prog)
		for n := range 3 {
			p.ok("checkpoint", "job", "--stop")
			j.gone()
			j = p.restart(prog, "job")
			if want := fmt.Sprintf("before-freeze=was here captured=was here count=%d", n); !strings.HasSuffix(p.told(), want) {
				t.Errorf("got %s, want %s at the end", p.told(), want)
			}
			if got := j.round(n + 1); !strings.Contains(got, fmt.Sprintf(" LONG=%d ", n)) {
				t.Errorf("generation %d: %s", n+1, got)
			}
		}
		if out := p.ok("inspect", "job", "--json"); !strings.Contains(out, "keeps/count") {
			t.Errorf("inspect does not tell of blobs")
		}
		j.finish(1)
	})
}
