package supervisor

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"time"

	"supervise/control"
	"supervise/internal/task"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
)

// attendance is how the clients of a supervisor take part in one snapshot of
// its tree. Whoever takes the snapshot, be it a process that cron has started,
// drives them through the events; when it is killed, its connection ends, and
// the supervisor tells them that it failed.
type attendance struct {
	target *Target
	image  string
	stop   bool

	server *client.Client // nil: there is no supervisor, or not any more
	begun  bool           // before-freeze was announced
	specs  []plugins.Spec
	runner *plugins.Runner
	ends   control.Ends
	found  *client.Objects // once they are captured
	loose  bool            // the tree has run on for a moment since we got ends
	begin  control.Begun
}

// attend begins a snapshot, which may have to wait until nobody holds it back.
// A supervisor that is stopped, as by the keyboard, takes no part: it comes
// back with the program.
func attend(ctx context.Context, o *CheckpointOptions, target *Target, image string) (*attendance, error) {
	a := &attendance{target: target, image: image, stop: o.Stop}
	j := target.job
	if j != nil {
		a.specs = j.Plugins
	}
	a.specs = joinPlugins(a.specs, o.Plugins)
	list, err := plugins.Load(a.specs)
	if err != nil {
		return nil, err
	}
	a.runner = plugins.NewRunner(list, nil)
	if j == nil {
		return a, nil
	}
	a.begin.Generation = j.Generation
	if j.Socket == "" || !j.Supervisor.alive() || taskState(j.Supervisor.PID) == 'T' {
		return a, nil
	}
	c, err := dialAtOnce(j.Socket)
	if err != nil {
		return a, nil // it is ending, or beginning
	}
	a.server = c
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ctx.Done():
			c.Close()
		case <-done:
		}
	}()
	err = a.call("begin", nil, &a.begin)
	if ctx.Err() != nil {
		return nil, errors.Join(ErrBusy, a.end(nil))
	}
	return a, err
}

// call makes a request. A supervisor that has gone meanwhile is no reason for a
// snapshot to fail.
func (a *attendance) call(request string, params, result any) error {
	if a.server == nil {
		return nil
	}
	stop := a.watch(a.server)
	err := a.server.Call(request, params, result)
	close(stop)
	var refused *client.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	a.server.Close()
	a.server = nil
	return nil
}

// watch hangs up on a supervisor that is stopped, as by the keyboard, while
// somebody waits for it, until stop is closed.
func (a *attendance) watch(server *client.Client) (stop chan struct{}) {
	stop = make(chan struct{})
	go func() {
		const often, enough = 100 * time.Millisecond, 5
		tick := time.NewTicker(often)
		defer tick.Stop()
		for stopped := 0; stopped < enough; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if stopped++; taskState(a.target.job.Supervisor.PID) != 'T' {
				stopped = 0
			}
		}
		server.Close()
	}()
	return stop
}

// event announces an event, and waits for the replies: of plugins first on the
// way down, and of clients, who are nearer to the program, first on the way up.
func (a *attendance) event(name, reason string, result any) error {
	e := client.Event{Name: name, Reason: reason, Snapshot: a.facts()}
	brief := e
	brief.Snapshot = e.Snapshot.Brief(0) // the programs of a tree have little room for lines
	if slices.Contains(plugins.Asked, name) {
		if err := a.runner.Event(e); err != nil {
			return err
		}
		return a.call("event", brief, result)
	}
	return errors.Join(a.call("event", brief, result), a.runner.Event(e))
}

func (a *attendance) facts() *client.Facts {
	return &client.Facts{Job: a.target.Name, RootPID: int(a.target.Root()), Generation: a.begin.Generation, Image: a.image, Objects: a.found}
}

// hook announces the events that belong to the phases of a snapshot, before
// another hook is called.
func (a *attendance) hook(next plugins.Hook) plugins.Hook {
	return func(p plugins.Phase) error {
		if err := a.phase(p); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		return next(p)
	}
}

func (a *attendance) phase(p plugins.Phase) error {
	switch p {
	case plugins.Freeze:
		a.begun = true
		return a.event(client.BeforeFreeze, "", nil)
	case plugins.Survey:
		return a.event(client.Frozen, "", &a.ends)
	case plugins.Thaw:
		return a.event(client.Captured, "", nil)
	case plugins.Commit:
		if !a.stop {
			return a.event(client.Resumed, "", nil)
		}
	}
	return nil
}

// loosen lets the tree run on for a moment, in which it may use its connections.
func (a *attendance) loosen() {
	a.loose = true
	_ = a.call("loosen", nil, nil)
}

// connections are the ends of control connections, by the inodes of our ends.
func (a *attendance) connections() map[uint32][]byte {
	if a.loose {
		a.loose, a.ends = false, control.Ends{}
		_ = a.call("tighten", nil, &a.ends)
	}
	ends := map[uint32][]byte{}
	for ino, state := range a.ends.Ends {
		ends[ino] = state
	}
	return ends
}

// excluded is the memory of a process that is to be left out.
func (a *attendance) excluded(pid task.PID) (ranges []memimg.Range) {
	for _, r := range a.ends.Excluded[int(pid)] {
		ranges = append(ranges, memimg.Range(r))
	}
	return ranges
}

// manifest is what goes into the manifest.
func (a *attendance) manifest(more map[string]string) *memimg.Control {
	c := &memimg.Control{Generation: a.begin.Generation, Annotations: map[string]string{}}
	maps.Copy(c.Annotations, a.begin.Annotations)
	maps.Copy(c.Annotations, more)
	if a.target.job != nil {
		c.Socket = a.target.job.ProgramSocket
	}
	for _, s := range a.specs {
		c.Plugins = append(c.Plugins, memimg.Plugin(s))
	}
	if c.Generation == 0 && c.Socket == "" && len(c.Annotations)+len(c.Plugins) == 0 {
		return nil
	}
	return c
}

// end tells how it went.
func (a *attendance) end(failure error) error {
	if a == nil {
		return nil
	}
	defer a.runner.Close()
	var err error
	switch {
	case failure == nil:
		err = a.event(client.Committed, "", nil)
	case a.begun:
		err = a.event(client.SnapshotFail, failure.Error(), nil)
	}
	err = errors.Join(err, a.call("end", nil, nil))
	if a.server != nil {
		err = errors.Join(err, a.server.Close())
	}
	return err
}

var dialer = net.Dialer{Timeout: time.Second}

// dialAtOnce connects, or fails at once.
func dialAtOnce(path string) (*client.Client, error) {
	conn, err := dialer.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return client.New(conn), nil
}
