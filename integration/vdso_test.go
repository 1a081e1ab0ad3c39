package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// otherKernel makes of an image one that seems to come from another kernel.
func (p *place) otherKernel(image string) string {
	p.t.Helper()
	other := image + "-other"
	cmd := exec.Command(filepath.Join(binDir, "othervdso"), image, other)
	cmd.Dir, cmd.SysProcAttr = p.path("work"), p.user.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("othervdso: %v: %s", err, out)
	}
	return other
}

// TestOtherVDSO restarts programs from images of another kernel, three times
// one after the other.
func TestOtherVDSO(t *testing.T) {
	for _, name := range []string{"vdso", "goruntime", "python", "threads", "clocks", "shared", "itimers", "perl"} {
		for _, prog := range programs {
			if prog.name != name {
				continue
			}
			prog.how = rootOnly // the old vDSO is a mapping like any other now
			for _, u := range users() {
				t.Run(name+"/"+u.name, func(t *testing.T) {
					t.Parallel()
					p := newPlace(t, u)
					j := p.start(prog)
					before := j.settle()
					for _, name := range []string{"a", "b", "c"} {
						image := p.path(name)
						p.checkpoint(j.pid(), image, "--stop")
						j.gone()
						j = p.restart(prog, p.otherKernel(image))
						j.like(before)
					}
					j.finish(1)
				})
			}
		}
	}
}

// TestReturnToOtherVDSO is of a program in a signal handler that will return
// into the middle of a vDSO that is not there any more.
func TestReturnToOtherVDSO(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			prog := one("vdso").with("handler").rootOnly()
			j := p.start(prog)
			p.checkpoint(j.pid(), p.path("image"), "--stop")
			j.gone()
			r := p.supervise(nil, "restart", p.otherKernel(p.path("image")), "--detach")
			if r.code != 5 || !strings.Contains(r.err, "returns into the vDSO") {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
			p.restart(prog, p.path("image")).finish(1)
		})
	}
}
