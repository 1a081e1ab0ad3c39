package plugins

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supervise/internal/translate"
	"supervise/plugins/client"
)

// Asked are the events that plugins may refuse.
var Asked = []string{client.BeforeFreeze, client.Frozen, client.Captured, client.BeforeRestart, client.Restored}

// Runner runs the plugins of one snapshot or one restart.
type Runner struct {
	plugins []*Plugin
	running map[*Plugin]*process
	told    map[*Plugin]bool // of the first event of the operation
	blobs   map[string][]byte

	Changes  Changes
	Problems []string // failures that were ignored
}

// Changes are what plugins want to be otherwise in a restarted tree.
type Changes struct {
	Environment map[string]*string // nil: to be removed
	Files       []Given
	Hostname    string // that programs see; "": as they would without plugins
	Undumped    bool   // memory that the program has marked is left out of the snapshot

	translate.Values
}

// List tells in words what is to be otherwise.
func (c *Changes) List() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c.Environment)) {
		if v := c.Environment[name]; v != nil {
			list = append(list, "environment "+name+"="+*v)
		} else {
			list = append(list, "environment: no "+name)
		}
	}
	for what, names := range map[string]map[string]string{"path": c.Paths, "address": c.Addresses} {
		for old, now := range names {
			list = append(list, what+" "+old+" is "+now)
		}
	}
	for _, g := range c.Files {
		list = append(list, fmt.Sprintf("descriptor %d of process %d", g.FD, g.PID))
	}
	if c.Hostname != "" {
		list = append(list, "host name "+c.Hostname)
	}
	slices.Sort(list)
	return list
}

// Given is an open file that takes the place of a descriptor of the tree.
type Given struct {
	PID int `json:"pid"` // of the process, as the tree sees it; 0: the root
	FD  int `json:"fd"`  // its number there
	Our int `json:"-"`   // ours
}

// NewRunner begins an operation. blobs are those in the image, at a restart.
func NewRunner(list []*Plugin, blobs map[string][]byte) *Runner {
	r := &Runner{plugins: list, running: map[*Plugin]*process{}, told: map[*Plugin]bool{}, blobs: map[string][]byte{},
		Changes: Changes{Environment: map[string]*string{}, Values: translate.Values{Paths: map[string]string{}, Addresses: map[string]string{}}}}
	maps.Copy(r.blobs, blobs)
	return r
}

// Blobs are what plugins have stored, each name with that of its plugin.
func (r *Runner) Blobs() map[string][]byte { return r.blobs }

// SetBlobs gives those in the image, once it is read.
func (r *Runner) SetBlobs(blobs map[string][]byte) { maps.Copy(r.blobs, blobs) }

// Event tells all plugins of an event, in their order, or in the reverse one on
// the way up. Where one fails, the rest are not told, unless that is to be ignored.
func (r *Runner) Event(e client.Event) error {
	if r == nil {
		return nil
	}
	list := slices.Clone(r.plugins)
	down := slices.Contains(Asked, e.Name)
	if !down {
		slices.Reverse(list)
	}
	for _, p := range list {
		if !slices.Contains(p.Events, e.Name) || !down && r.unaware(p, e.Name) {
			continue
		}
		r.told[p] = true
		err := r.tell(p, e)
		switch {
		case err == nil:
		case p.Failure == Ignore || !down:
			r.Problems = append(r.Problems, err.Error())
		default:
			return err
		}
	}
	return nil
}

// unaware tells whether a plugin has not been told of the operation, though it
// wanted to be, since another had refused before.
func (r *Runner) unaware(p *Plugin, event string) bool {
	first := client.BeforeFreeze
	if event == client.Restarted || event == client.Gone {
		first = client.BeforeRestart
	}
	return !r.told[p] && slices.Contains(p.Events, first) && event != client.Gone
}

// tell runs one plugin for one event.
func (r *Runner) tell(p *Plugin, e client.Event) error {
	if p.fn != nil {
		reply, err := p.fn(e)
		if err != nil {
			return &RefusedError{Plugin: p.Name, Event: e.Name, Err: err}
		}
		return r.take(p, reply)
	}
	e.Deadline, e.Snapshot = p.Deadline, e.Snapshot.Brief(client.Most)
	run := r.running[p]
	if run == nil {
		var err error
		if run, err = startElsewhere(p, e); err != nil {
			return &RefusedError{Plugin: p.Name, Event: e.Name, Err: err}
		}
		r.running[p] = run
	}
	reply, err := run.ask(e, r.own(p))
	if err == nil && (p.Start == Each || p.shell) {
		err = run.end(time.Duration(p.Deadline) * time.Millisecond)
		delete(r.running, p)
	}
	if err != nil {
		run.kill()
		delete(r.running, p)
		return &RefusedError{Plugin: p.Name, Event: e.Name, Err: err}
	}
	return r.take(p, reply)
}

// RefusedError says that a plugin does not want a snapshot or a restart, or
// has done something else than to reply.
type RefusedError struct {
	Plugin, Event string
	Err           error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("plugin %s refuses at %s: %v", e.Plugin, e.Event, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// own are the blobs of a plugin, by the names it knows.
func (r *Runner) own(p *Plugin) map[string][]byte {
	own := map[string][]byte{}
	for name, b := range r.blobs {
		if rest, ok := strings.CutPrefix(name, p.Name+"/"); ok {
			own[rest] = b
		}
	}
	return own
}

// maxBlobs is how much the plugins of a snapshot may store.
const maxBlobs = 16 << 20

// maxGiven is how many descriptors plugins may hand over: as many as fit below
// the numbers that a restart uses for itself.
const maxGiven = 8

// take does what a reply says.
func (r *Runner) take(p *Plugin, reply *Reply) error {
	if reply == nil {
		return nil
	}
	total := 0
	for name, b := range reply.Blobs {
		r.blobs[p.Name+"/"+name] = b
	}
	for _, b := range r.blobs {
		total += len(b)
	}
	if total > maxBlobs {
		return fmt.Errorf("plugin %s: more than %d bytes are to be kept", p.Name, maxBlobs)
	}
	for _, what := range reply.Exclude {
		if err := checkExclude(what); err != nil {
			return fmt.Errorf("plugin %s: %w", p.Name, err)
		}
		r.Changes.Undumped = true
	}
	values := translate.Values{Paths: reply.Paths, Addresses: reply.Addresses}
	if err := values.Check(); err != nil {
		return fmt.Errorf("plugin %s: %w", p.Name, err)
	}
	maps.Copy(r.Changes.Paths, reply.Paths)
	maps.Copy(r.Changes.Addresses, reply.Addresses)
	r.Changes.Hostname = cmp.Or(reply.Hostname, r.Changes.Hostname)
	maps.Copy(r.Changes.Environment, reply.Environment)
	r.Changes.Files = append(r.Changes.Files, reply.Descriptors...)
	if len(r.Changes.Files) > maxGiven {
		return fmt.Errorf("plugin %s: more than %d descriptors are handed over", p.Name, maxGiven)
	}
	return nil
}

// Close ends all plugins that run. They see the end of their input, and have a
// moment to end by themselves.
func (r *Runner) Close() {
	if r == nil {
		return
	}
	const moment = time.Second
	for p, run := range r.running {
		if err := run.end(moment); err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("plugin %s: %v", p.Name, err))
			run.kill()
		}
		delete(r.running, p)
	}
	for _, g := range r.Changes.Files {
		closeFD(g.Our)
	}
	r.Changes.Files = nil
}
