package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rounds is how often each measurement is made; medians are reported.
const rounds = 5

// loads are the trees that are measured: memory, threads, processes,
// connections on loopback.
var loads = []struct {
	name                                 string
	mib, threads, processes, connections int
}{
	{"1MiB", 1, 0, 0, 0},
	{"64MiB", 64, 0, 0, 0},
	{"1GiB", 1024, 0, 0, 0},
	{"1000threads", 1, 1000, 0, 0},
	{"1000processes", 1, 0, 1000, 0},
	{"1connection", 1, 0, 0, 1},
	{"1000connections", 1, 0, 0, 1000},
	{"10000connections", 1, 0, 0, 10000}, // with both ends more than one process may have
}

// A sample is one snapshot and one restart, measured from outside; stop is the
// longest gap that the program itself saw.
type sample struct {
	stop, dump, restart time.Duration
	peak                int64 // memory of the larger of both commands, in KiB
}

// A tool takes snapshots and restarts them: supervise, or CRIU for scale.
type tool struct {
	name    string
	dump    func(p *place, pid, image string) []string
	restart func(p *place, image string) []string
}

func tools() []tool {
	list := []tool{{
		"supervise",
		func(p *place, pid, image string) []string {
			return []string{supervise, "checkpoint", pid, "--image", image}
		},
		func(p *place, image string) []string {
			return []string{supervise, "restart", image, "--detach", "--pid-file", p.path("pid")}
		},
	}}
	if criu := os.Getenv("CRIU"); criu != "" {
		list = append(list, tool{
			"criu",
			func(p *place, pid, image string) []string {
				return []string{criu, "dump", "-t", pid, "-D", image, "-j", "--leave-running"}
			},
			func(p *place, image string) []string {
				return []string{criu, "restore", "-D", image, "-j", "-d", "--pidfile", p.path("pid")}
			},
		})
	}
	return list
}

// BenchmarkSnapshot measures the stop, the dump and the restart. With $CRIU
// set, rounds with it alternate, and ratios are reported.
func BenchmarkSnapshot(b *testing.B) {
	for _, load := range loads {
		b.Run(load.name, func(b *testing.B) {
			samples := make(map[string][]sample)
			for range rounds {
				for _, tool := range tools() {
					p := newPlace(b, users()[0])
					prog := one("busy").with(strconv.Itoa(load.mib), strconv.Itoa(load.threads), strconv.Itoa(load.processes),
						strconv.Itoa(load.connections))
					samples[tool.name] = append(samples[tool.name], p.measure(tool, prog))
				}
			}
			ours := report(b, "", samples["supervise"])
			if theirs := samples["criu"]; theirs != nil {
				m := report(b, "criu-", theirs)
				for what, v := range ours {
					b.ReportMetric(v/m[what], what+"-ratio")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// measure makes one sample.
func (p *place) measure(tool tool, prog program) (s sample) {
	p.t.Helper()
	image := p.path("image")
	must(p.t, os.Mkdir(image, 0o700))
	j := p.start(prog)
	var dumpPeak, restartPeak int64
	s.dump, dumpPeak = p.timed(tool.dump(p, j.pid(), image))
	must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
	j.says("ok", 1)
	for line := range strings.Lines(slurp(p.logFile())) {
		var gap float64
		if n, _ := fmt.Sscanf(line, "gap %f", &gap); n == 1 {
			s.stop = time.Duration(gap * 1e9)
		}
	}
	j.ended()
	must(p.t, os.Remove(p.goFile()))
	s.restart, restartPeak = p.timed(tool.restart(p, image))
	s.peak = max(dumpPeak, restartPeak)
	p.endRestarted()
	return s
}

// timed runs a command and gives its time and its peak memory in KiB.
func (p *place) timed(argv []string) (time.Duration, int64) {
	p.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), p.env(), p.user.attr()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	must(p.t, err)
	defer null.Close()
	log, err := os.Create(filepath.Join(p.dir, "command.log"))
	must(p.t, err)
	defer log.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, log
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", argv, err, slurp(log.Name()))
	}
	return took, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}

// endRestarted lets the tree that was restarted detached end.
func (p *place) endRestarted() {
	must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
	pid, err := strconv.Atoi(strings.TrimSpace(slurp(p.path("pid"))))
	must(p.t, err)
	wait(p.t, "end of the restarted tree", 30*time.Second, func() string {
		return strings.Join(states([]int{pid}), ", ")
	})
}

// report reports medians, and gives them by name.
func report(b *testing.B, prefix string, samples []sample) map[string]float64 {
	of := func(get func(s sample) float64) float64 {
		var vs []float64
		for _, s := range samples {
			vs = append(vs, get(s))
		}
		return median(vs)
	}
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	m := map[string]float64{
		"stop-ms":    of(func(s sample) float64 { return ms(s.stop) }),
		"dump-ms":    of(func(s sample) float64 { return ms(s.dump) }),
		"restart-ms": of(func(s sample) float64 { return ms(s.restart) }),
		"peak-MiB":   of(func(s sample) float64 { return float64(s.peak) / 1024 }),
	}
	for what, v := range m {
		b.ReportMetric(v, prefix+what)
	}
	return m
}

// BenchmarkDescriptors measures the dump and the restart of trees of five
// processes with many descriptors, 90,000 in all at most.
func BenchmarkDescriptors(b *testing.B) {
	for _, each := range []int{200, 2000, 18000} {
		b.Run(strconv.Itoa(5*each), func(b *testing.B) {
			for b.Loop() {
				p, ours := newPlace(b, users()[0]), tools()[0]
				j := p.start(one("manyfds").with(strconv.Itoa(each)))
				dump, dumpPeak := p.timed(ours.dump(p, j.pid(), p.path("image")))
				j.finish(1)
				must(b, os.Remove(p.goFile()))
				restart, restartPeak := p.timed(ours.restart(p, p.path("image")))
				p.endRestarted()
				b.ReportMetric(dump.Seconds()*1e6/float64(5*each), "dump-us/fd")
				b.ReportMetric(restart.Seconds()*1e6/float64(5*each), "restart-us/fd")
				b.ReportMetric(float64(max(dumpPeak, restartPeak))/1024, "peak-MiB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkTransfer measures what a TCP transfer inside the tree feels of a
// snapshot: the bytes of the worst tenth of a second as a share of the usual
// one, and the longest time without any, with a snapshot and without.
func BenchmarkTransfer(b *testing.B) {
	for _, snapshots := range []int{0, 1} {
		b.Run(fmt.Sprintf("%dsnapshots", snapshots), func(b *testing.B) {
			var rates, least, gaps []float64
			for range rounds {
				r, l, g := transfer(b, snapshots)
				rates, least, gaps = append(rates, r), append(least, l), append(gaps, g)
			}
			b.ReportMetric(median(rates)/(1<<20), "MiB/s")
			b.ReportMetric(median(least), "worst/usual")
			b.ReportMetric(median(gaps)*1e3, "gap-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func transfer(b *testing.B, snapshots int) (rate, least, gap float64) {
	p := newPlace(b, users()[0])
	j := p.start(one("stream"))
	time.Sleep(time.Second)
	for range snapshots {
		image := p.path("image")
		must(b, os.Mkdir(image, 0o700))
		p.timed(tools()[0].dump(p, j.pid(), image))
	}
	time.Sleep(time.Second)
	j.finish(1)
	for line := range strings.Lines(slurp(p.logFile())) {
		fmt.Sscanf(line, "rate %f least %f gap %f", &rate, &least, &gap)
	}
	return rate, least, gap
}

func median(vs []float64) float64 {
	slices.Sort(vs)
	return vs[len(vs)/2]
}

// BenchmarkOverhead compares loops below supervise run with native ones, in
// alternating rounds.
func BenchmarkOverhead(b *testing.B) {
	for kind, n := range map[string]int{"syscall": 3_000_000, "fork": 2000, "thread": 5000} {
		b.Run(kind, func(b *testing.B) {
			var ratios []float64
			for range rounds {
				native := loop(b, kind, n, false)
				ratios = append(ratios, loop(b, kind, n, true)/native)
			}
			b.ReportMetric(median(ratios), "run/native")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// loop is the time of one loop in seconds, as it measures it.
func loop(b *testing.B, kind string, n int, run bool) (took float64) {
	p := newPlace(b, users()[0])
	prog := one("loops").with(kind, strconv.Itoa(n))
	prog.run = run
	j := p.start(prog)
	j.finish(1)
	for line := range strings.Lines(slurp(p.logFile())) {
		fmt.Sscanf(line, "took %f", &took)
	}
	return took
}

// BenchmarkIPython measures the time from %checkpoint to the next prompt of a
// session with 200 MiB of numpy arrays, and from restart to its prompt.
func BenchmarkIPython(b *testing.B) {
	p := newPlace(b, users()[0])
	term := p.newTerminal(24, 80)
	j := p.session(term, p.ipython()...)
	term.prompt(1)
	term.cell("%load_ext supervise", 2)
	term.cell("import numpy as np; arrays = [np.random.rand(1 << 17) for _ in range(200)]", 3)
	var asked []time.Duration
	n := 3
	for b.Loop() {
		start := time.Now()
		term.cell("%checkpoint", n+1, `taken in`)
		asked = append(asked, time.Since(start))
		n++
	}
	slices.Sort(asked)
	again := p.newTerminal(24, 80)
	j.killTree()
	j.close()
	start := time.Now()
	j = p.restartOn(again, j.prog, "job")
	again.expect(`back at`)
	again.prompt(n)
	b.ReportMetric(float64(time.Since(start))/1e6, "restart-ms")
	b.ReportMetric(float64(asked[len(asked)/2])/1e6, "checkpoint-ms")
	b.ReportMetric(0, "ns/op")
	again.send("exit\r")
	j.endsWith(0)
}
