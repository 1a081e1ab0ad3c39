package fdstate

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

func init() {
	subjects["thousand processes"] = func(dir string) {
		var p [2]int
		check(unix.Pipe(p[:]))
		put(p[0], 10, 0)
		put(p[1], 11, 0)
		for range 1000 {
			spawn(10, 11, 2)
		}
	}
	subjects["many descriptors"] = func(dir string) {
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 20000, Max: 20000}))
		epfd := must(unix.EpollCreate1(0))
		for range 6000 {
			fd := must(unix.Eventfd(1, 0))
			check(unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
			must(unix.Open("/etc/passwd", unix.O_RDONLY, 0))
			must(unix.Dup(fd))
		}
	}
}

// BenchmarkThousand captures and restores 1,000 processes with 3 inherited
// descriptors each; BenchmarkMany one process with 18,000, a third of them in
// an epoll instance.
func BenchmarkThousand(b *testing.B) { benchmark(b, "thousand processes") }
func BenchmarkMany(b *testing.B)     { benchmark(b, "many descriptors") }

func benchmark(b *testing.B, name string) {
	s := startSubject(b, name, 0)
	var state State
	b.Run("capture", func(b *testing.B) {
		err := task.OnThread(func() error {
			tree, err := task.Freeze([]task.PID{s.pid}, timeout)
			if err != nil {
				return err
			}
			defer tree.Thaw()
			var procs []Proc
			for _, p := range tree.Procs {
				if err := p.Infect(must(procfs.ReadMaps(int(p.PID)))); err != nil {
					return err
				}
				procs = append(procs, Proc{Held: p, Comm: "subject", Infect: func() error { return nil }})
			}
			for b.Loop() {
				if state, err = Capture(procs, Kinds, &objects{}, nil, &refuse.List{}); err != nil {
					return err
				}
			}
			b.ReportMetric(float64(len(state.Files)), "files")
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			snap := &snapshot{state: state, objects: &objects{}}
			var took time.Duration
			if err := s.restore(b, snap, func(r *restored) error { took = r.took; return nil }); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			b.ReportMetric(took.Seconds()*1000, "ms")
		}
	})
}
