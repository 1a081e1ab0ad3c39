package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTraffic: data flows between processes of a tree, both ways through
// several connections, while a snapshot is taken every 200 ms, also after a
// restart from one of them. The program knows each byte; it says how many came.
func TestTraffic(t *testing.T) {
	const snapshots = 8
	for _, way := range []program{one("unixtraffic"), one("unixtraffic").named("tcptraffic").with("tcp")} {
		t.Run(way.name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				j := p.start(way)
				for life := range 2 {
					for n := range snapshots {
						p.checkpoint(j.pid(), p.path(fmt.Sprintf("image%d-%d", life, n)))
						time.Sleep(200 * time.Millisecond)
					}
					if life == 0 {
						j.killTree()
						j = p.restart(way, p.path(fmt.Sprintf("image0-%d", snapshots-1)))
					}
				}
				must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
				j.says("ok", 1)
				j.ended()
				for line := range strings.Lines(slurp(p.logFile())) {
					if what, found := strings.CutPrefix(line, "moved "); found {
						p.t.Logf("%s with %d snapshots and a restart", strings.TrimSpace(what), 2*snapshots)
					}
				}
			})
		})
	}
}
