package integration

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHugePages runs the program that needs huge pages, one at a time, while
// this host has some; and tells what a restart says when there are too few.
func TestHugePages(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives a host huge pages")
	}
	prog := one("hugepages")
	setHugePages(t, 40)
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			for _, m := range modes {
				t.Run(m.name, func(t *testing.T) { m.run(newPlace(t, u), prog) })
			}
		})
	}
	t.Run("too_few", func(t *testing.T) {
		var images []*place
		for _, u := range users() {
			p := newPlace(t, u)
			images = append(images, p)
			j := p.start(prog)
			p.checkpoint(j.pid(), p.path("image"), "--stop")
			j.gone()
		}
		setHugePages(t, 1)
		for _, p := range images {
			r := p.supervise(nil, "restart", p.path("image"), "--detach")
			if r.code != 5 || !strings.Contains(r.err, "huge pages") || !strings.Contains(r.err, "nr_hugepages") {
				t.Errorf("%s: exit code %d: %s", p.user.name, r.code, r.err)
			}
		}
	})
}

// setHugePages sets how many the host has. When the test ends it has as many as before.
func setHugePages(t *testing.T, n int) {
	t.Helper()
	const file = "/proc/sys/vm/nr_hugepages"
	old := slurp(file)
	t.Cleanup(func() { must(t, os.WriteFile(file, []byte(old), 0)) })
	wait(t, "huge pages of the host", 10*time.Second, func() string {
		must(t, os.WriteFile(file, []byte(strconv.Itoa(n)), 0))
		got := strings.TrimSpace(slurp(file))
		if got == strconv.Itoa(n) {
			return ""
		}
		must(t, os.WriteFile("/proc/sys/vm/compact_memory", []byte("1"), 0))
		return "asked for " + strconv.Itoa(n) + ", got " + got
	})
}
