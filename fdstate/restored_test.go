package fdstate

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// restored is a tree that was built from a snapshot and is still held.
type restored struct {
	builder *task.Process
	procs   []*task.Process
	r       *Restorer
	took    time.Duration // all steps but the forks
}

// restore builds the snapshot's processes and runs fn while they are held. All
// of them end with it.
func (s subject) restore(t testing.TB, snap *snapshot, fn func(*restored) error) error {
	t.Helper()
	return task.OnThread(func() error {
		b, err := startBuilder(s)
		if err != nil {
			return err
		}
		defer func() {
			_ = b.builder.Kill()
			for _, p := range b.procs {
				_ = p.Kill()
			}
			for _, p := range append(b.procs, b.builder) {
				_, _ = unix.Wait4(int(p.PID), nil, unix.WALL, nil)
			}
		}()
		if err := b.build(snap); err != nil {
			return err
		}
		return fn(b)
	})
}

func startBuilder(s subject) (*restored, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), 2}}
	if s.stdio != nil {
		attr.Files = s.stdio
	}
	if s.uid != 0 {
		attr.Sys = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	p, err := task.Start("/proc/self/exe", []string{"builder"}, attr)
	if err != nil {
		return nil, err
	}
	p.Identify(task.ID(p.PID))
	vmas, err := procfs.ReadMaps(int(p.PID))
	if err != nil {
		return nil, err
	}
	return &restored{builder: p}, p.Infect(vmas)
}

func (b *restored) build(snap *snapshot) (err error) {
	nums := map[uint32]int{}
	b.r, err = NewRestorer(snap.state, Kinds, func(id uint32) int { return nums[id] })
	if err != nil {
		return err
	}
	if nums, err = snap.objects.restore(b.r, b.builder); err != nil {
		return err
	}
	start := time.Now()
	if err := b.r.OpenShared(b.builder, nil); err != nil {
		return err
	}
	forking := time.Now()
	for range snap.state.Tables {
		if err := b.fork(); err != nil {
			return err
		}
	}
	start = start.Add(time.Since(forking))
	defer func() { b.took = time.Since(start) }()
	for _, step := range []func(int, *task.Process) error{
		b.r.OpenOwn, b.r.Link, func(i int, p *task.Process) error { return b.r.CloseRest(i, p) },
		b.r.Arm,
	} {
		for i, p := range b.procs {
			if err := step(i, p); err != nil {
				return err
			}
		}
	}
	return b.r.CloseRest(-1, b.builder)
}

// fork makes the builder's next child.
func (b *restored) fork() error {
	id, err := b.builder.Call(unix.SYS_CLONE, int(unix.SIGCHLD), 0, 0, 0, 0)
	if err != nil {
		return err
	}
	tids, err := b.builder.TakeNew()
	if err != nil {
		return err
	}
	p, err := task.AdoptProcess(b.builder, tids[0], task.ID(id), false)
	b.procs = append(b.procs, p)
	return err
}
