package integration

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"supervise/plugins/client"
)

// asked makes a request of a job's supervisor, and gives the code of the error
// answer, or "".
func (p *place) asked(job, request string, params any) (code, message string) {
	p.t.Helper()
	var j struct{ Socket string }
	must(p.t, json.Unmarshal([]byte(slurp(p.path("jobs/"+job+"/job.json"))), &j))
	c, err := client.Dial(j.Socket)
	must(p.t, err)
	defer c.Close()
	var no *client.Error
	switch err := c.Call(request, params, nil); {
	case errors.As(err, &no):
		return no.Code, no.Message
	case err != nil:
		p.t.Fatal(err)
	}
	return "", ""
}

// TestRefusedAndFailed: answers tell by their code whether a snapshot was
// refused, and by whom, or could not be taken. Messages are for people: one
// that looks like a refusal is none.
func TestRefusedAndFailed(t *testing.T) {
	forUsers(t, func(p *place) {
		looks := p.plugin("looks", `"events":["frozen"],"failure":"ignore"`, "sys.exit('x refuses at y: cannot be captured')")
		refuses := p.plugin("refuses", `"events":["captured"]`, `
for e in events():
    if os.path.exists(sys.argv[1] + ".no"): reply(e, refuse="not now")
    else: reply(e)
`)
		j := p.start(one("objects").named("uffd").with("uffd").under("--plugin", looks, "--plugin", refuses))
		if code, message := p.asked("job", "checkpoint", nil); code != client.Refused || !strings.Contains(message, "userfaultfd") {
			t.Errorf("an object that cannot be captured: %s: %s", code, message)
		}
		r := p.supervise(nil, "checkpoint", "job", "--json")
		var facts struct{ Error *client.Error }
		if must(t, json.Unmarshal([]byte(r.out), &facts)); r.code != 3 || facts.Error == nil || facts.Error.Code != client.Refused {
			t.Errorf("checkpoint --json: %d %s", r.code, r.out)
		}
		j.killTree()
		j.close()
		must(t, os.Remove(p.logFile()))

		rules := p.path("work/rules")
		must(t, os.WriteFile(rules, nil, 0o644))
		j = p.start(one("pipes").under("--policy", rules, "--plugin", looks, "--plugin", refuses))
		must(t, os.WriteFile(p.logs+"/told.no", nil, 0o644))
		if code, message := p.asked("job", "checkpoint", nil); code != client.Refused || !strings.Contains(message, "refuses at captured: not now") {
			t.Errorf("a plugin: %s: %s", code, message)
		}
		must(t, os.Remove(p.logs+"/told.no"))
		if code, message := p.asked("job", "checkpoint", nil); code != "" {
			t.Errorf("nobody refuses: %s: %s", code, message)
		}
		must(t, os.Remove(rules))
		if code, message := p.asked("job", "checkpoint", nil); code != client.Failed || !strings.Contains(message, "no such file") {
			t.Errorf("no policy: %s: %s", code, message)
		}
		j.finish(1)
	})
}

// TestSocketApart: where the path in the job's directory is too long for a
// socket, there is one elsewhere, which the next supervisor takes over after a
// kill -9, and of which nothing stays.
func TestSocketApart(t *testing.T) {
	forUsers(t, func(p *place) {
		long := p.path("jobs/" + strings.Repeat("x", 100))
		socket := func() string {
			var j struct{ Socket string }
			_ = json.Unmarshal([]byte(slurp(long+"/job/job.json")), &j)
			return j.Socket
		}
		j := p.start(one("pipes").under("--dir", long))
		first := socket()
		info, err := os.Lstat(first)
		if must(t, err); info.Mode().Type() != os.ModeSocket || strings.HasPrefix(first, long) {
			t.Fatalf("%s is %v", first, info.Mode())
		}
		j.killSupervisor()
		// It stays until another supervisor finds it, be it of another job.
		h := p.hold(launch{argv: []string{supervise, "attach", "job", "--dir", long}})
		wait(t, "the next supervisor", 20*time.Second, func() string {
			if r := p.supervise(nil, "request", "checkpoint", "--job", "job", "--dir", long); r.code != 0 {
				return r.err
			}
			return ""
		})
		if socket() != first {
			t.Errorf("the socket is %s, was %s", socket(), first)
		}
		must(t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		h.ends(0, "the tree has ended")
		j.close()
		if _, err := os.Lstat(first); err == nil {
			t.Errorf("%s is left behind", first)
		}
	})
}
