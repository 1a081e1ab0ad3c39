package integration

import (
	"os"
	"strings"
	"testing"
)

// TestNoIoUringAndMore: where filters cannot be read, a tree with others besides
// that of --no-io-uring is refused; it is known only by the job's record.
func TestNoIoUringAndMore(t *testing.T) {
	forUsers(t, func(p *place) {
		if p.user.uid == 0 {
			p.t.Skip("root can read filters: see the program seccomp")
		}
		j := p.start(one("objects").with("seccomp").under("--no-io-uring"))
		before := j.settle()
		j.refuses(before, p.path("image"), []int{3}, "not only the filter of run --no-io-uring")
		j.finish(1)
		j.close()

		must(p.t, os.Remove(p.goFile()))
		must(p.t, os.Remove(p.logFile()))
		j = p.start(one("nouring").under("--no-io-uring"))
		before = j.settle()
		j.killSupervisor()
		r := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image"), "--dir", p.path("tmp/other"))
		if r.code != 3 || !strings.Contains(r.err, "name the job and its --dir") {
			p.t.Errorf("without its record: exit code %d\n%s", r.code, r.err)
		}
		p.silent("snapshot", "job")
		expect(p.t, "after a snapshot without a supervisor", before, j.observe, always, detached)
		h := p.attach("job", "--interval", "200ms", "--keep", "1")
		p.awaitNewest("job", 3)
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		h.ends(0, "the tree has ended")
		j.close()
	})
}
