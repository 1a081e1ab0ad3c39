package plugins

import (
	"strings"
	"testing"
	"time"

	"supervise/plugins/client"
)

func testEvent(name string) client.Event {
	return client.Event{Name: name, Snapshot: &client.Facts{Job: "j"}}
}

// shellPlugin is a plugin in shell.
func shellPlugin(name, code string, events ...string) *Plugin {
	return &Plugin{Name: name, Command: []string{"/bin/sh", "-c", code}, Events: events, Deadline: 20000}
}

// TestUnaware: after a refusal those that come later are told nothing at all.
func TestUnaware(t *testing.T) {
	refuses := shellPlugin("refuses", `read l; echo '{"reply":1,"refuse":"no"}'; read l; echo '{"reply":2}'; cat >/dev/null`, "before-freeze", "failed")
	later := shellPlugin("later", `exit 9`, "before-freeze", "failed")
	r := NewRunner([]*Plugin{refuses, later}, nil)
	err := r.Event(testEvent("before-freeze"))
	if err == nil || !strings.Contains(err.Error(), "plugin refuses refuses at before-freeze: no") {
		t.Fatal(err)
	}
	// The one that refused was killed, and is started anew for the bad news.
	if err := r.Event(testEvent("failed")); err != nil {
		t.Fatal(err)
	}
	r.Close()
	for _, problem := range r.Problems {
		if strings.Contains(problem, "later") {
			t.Error(problem)
		}
	}
}

// TestKilled: a plugin that does not end is killed with all that it has started.
func TestKilled(t *testing.T) {
	p := shellPlugin("stays", `sleep 1000 & read l; sleep 1000`, "frozen")
	p.Deadline = 100
	r := NewRunner([]*Plugin{p}, nil)
	start := time.Now()
	err := r.Event(testEvent("frozen"))
	if err == nil || !strings.Contains(err.Error(), "no reply within 100ms") {
		t.Fatal(err)
	}
	r.Close()
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestBlobsAreOwn(t *testing.T) {
	code := `read l; echo '{"reply":1,"blobs":{"n":"aGVsbG8="}}'; cat >/dev/null`
	r := NewRunner([]*Plugin{shellPlugin("a", code, "frozen"), shellPlugin("b", code, "frozen")}, nil)
	if err := r.Event(testEvent("frozen")); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if got := r.Blobs(); len(got) != 2 || string(got["a/n"]) != "hello" || string(got["b/n"]) != "hello" {
		t.Errorf("%q", got)
	}
	if own := r.own(r.plugins[0]); len(own) != 1 || string(own["n"]) != "hello" {
		t.Errorf("%q", own)
	}
}
