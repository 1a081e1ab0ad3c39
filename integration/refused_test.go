package integration

import (
	"strings"
	"testing"
)

// refusedPrograms have something that cannot be captured, and what the
// refusal must say.
var refusedPrograms = []struct {
	program program
	says    string
}{
	{one("amx").rootOnly(), "AMX tiles"},
	{one("sharedundo"), "another process shares what it has to undo (CLONE_SYSVSEM)"},
	{one("aio").named("aio_under_way").with("under_way"), "requests are under way"},
	{one("aio").named("aio_forked").with("forked"), "from which this one has the ring since a fork"},
	{one("objects").named("secretmem").with("secretmem"), "memfd_secret"},
	{one("objects").named("uffd").with("uffd"), "registered with userfaultfd"},
	{one("fanotify").named("fanotify_unread").with("unread"), "of events wait to be read from it"},
	{one("fanotify").named("fanotify_permission").with("permission").asRoot(), "permission events"},
	{one("tcpbacklog").named("tcp_multipath").with("multipath"), "connections of MPTCP cannot be captured"},
	{one("tcpbacklog").named("tcp_early").with("early"), "its connection waits to be accepted, with data in it"},
	{one("tcpbacklog").named("tcp_opening").with("opening"), "the connection is in state SYN_SENT"},
}

// TestRefusedPrograms checks that such a program is refused by name, that
// nothing is written, and that it goes on.
func TestRefusedPrograms(t *testing.T) {
	for _, r := range refusedPrograms {
		for _, u := range users() {
			if r.program.root && u.uid != 0 {
				continue
			}
			t.Run(r.program.name+"/"+u.name, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, u)
				j := p.start(r.program)
				before := j.settle()
				got := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image"))
				if got.code == 0 && r.program.name == "amx" {
					return // this cpu has no tiles, or they were empty
				}
				if got.code != 3 || !strings.Contains(got.err, r.says) || !strings.Contains(got.err, "left running") {
					t.Errorf("exit code %d: %s", got.code, got.err)
				}
				p.nothingIn("image")
				j.undisturbed(before)
				j.finish(1)
			})
		}
	}
}
