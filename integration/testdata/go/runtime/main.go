// runtime: goroutines, timers, pipes on the network poller, a garbage
// collector at work, signals, and a mutex that everybody wants.
package main

import (
	"crypto/sha256"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"supervise/integration/testdata/go/prog"
)

var (
	stop atomic.Bool
	wg   sync.WaitGroup
)

// worker calls step until the end; no step may hang.
func worker(steps *atomic.Int64, step func()) {
	wg.Go(func() {
		for !stop.Load() {
			step()
			steps.Add(1)
		}
	})
}

// echo answers every byte that comes on a pipe on another.
func echo(steps *atomic.Int64) {
	ar, aw := must2(os.Pipe())
	br, bw := must2(os.Pipe())
	wg.Go(func() { io.Copy(bw, ar) })
	b := []byte{0}
	var n byte
	wg.Go(func() {
		defer aw.Close()
		for !stop.Load() {
			n++
			prog.Must(aw.Write([]byte{n}))
			prog.Must(io.ReadFull(br, b))
			prog.Check(b[0] == n, "echo %d, want %d", b[0], n)
			steps.Add(1)
			time.Sleep(time.Millisecond)
		}
	})
}

func must2[A, B any](a A, b B, err error) (A, B) {
	prog.Check(err == nil, "%v", err)
	return a, b
}

// garbage makes and drops trees, whose sums must stay the same.
func garbage() {
	type node struct {
		l, r *node
		v    [4]int64
	}
	var grow func(d int) *node
	grow = func(d int) *node {
		n := &node{v: [4]int64{int64(d), 1, 2, 3}}
		if d > 0 {
			n.l, n.r = grow(d-1), grow(d-1)
		}
		return n
	}
	var sum func(n *node) int64
	sum = func(n *node) int64 {
		if n == nil {
			return 0
		}
		return n.v[3] + sum(n.l) + sum(n.r)
	}
	s := sum(grow(10))
	prog.Check(s == 3*2047, "tree sums up to %d", s)
}

// digest keeps the vector registers busy.
func digest() [32]byte {
	b := make([]byte, 80000)
	for i := range b {
		b[i] = byte(i)
	}
	return sha256.Sum256(b)
}

var want = digest()

func main() {
	usr1 := make(chan os.Signal, 100)
	signal.Notify(usr1, syscall.SIGUSR1)
	var steps [6]atomic.Int64
	worker(&steps[0], garbage)
	worker(&steps[1], func() { prog.Check(digest() == want, "digest changed") })
	ticker := time.NewTicker(3 * time.Millisecond)
	worker(&steps[2], func() { <-ticker.C })
	worker(&steps[3], func() {
		start := time.Now()
		time.Sleep(2 * time.Millisecond)
		d := time.Since(start)
		prog.Check(d >= 2*time.Millisecond && d < 2*time.Minute, "slept %v", d)
	})
	echo(&steps[4])
	c := make(chan int)
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			c <- i
		}
		close(c)
	})
	next := 0
	wg.Go(func() {
		for i := range c {
			prog.Check(i == next, "channel gave %d, want %d", i, next)
			next++
			steps[5].Add(1)
			runtime.Gosched()
		}
	})
	pid := os.Getpid()
	prog.ReadyWait()
	prog.Check(pid == os.Getpid(), "pid is %d, was %d", os.Getpid(), pid)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
	select {
	case <-usr1:
	case <-time.After(20 * time.Second):
		prog.Fail("no signal")
	}
	var at [6]int64
	for i := range steps {
		at[i] = steps[i].Load()
	}
	for i := range steps {
		for end := time.Now().Add(20 * time.Second); steps[i].Load() < at[i]+3; time.Sleep(time.Millisecond) {
			prog.Check(time.Now().Before(end), "worker %d makes no steps", i)
		}
	}
	runtime.GC()
	stop.Store(true)
	wg.Wait()
	prog.OK()
}
