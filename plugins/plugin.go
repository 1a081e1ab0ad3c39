package plugins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"supervise/plugins/client"
)

// Spec names a plugin, as it is kept with jobs and images: the file of its
// manifest, a shell command for one event, or one that is built in.
type Spec struct {
	File    string `json:"file,omitempty"`
	Event   string `json:"event,omitempty"`
	Command string `json:"command,omitempty"`

	SignalBefore string `json:"signal_before,omitempty"` // SIGNAL[:DEADLINE[:FILE]]
	SignalAfter  string `json:"signal_after,omitempty"`
	Exclude      string `json:"exclude,omitempty"` // Undumped
}

// Plugin is somebody who takes part in snapshots and restarts: a program.
type Plugin struct {
	Name     string   `json:"name"`
	Command  []string `json:"command"` // the first is looked for beside the manifest, if it has a slash
	Events   []string `json:"events"`
	Deadline int64    `json:"deadline_ms"` // of each reply; 0: 5 s
	Failure  string   `json:"failure"`     // what a failure means: "abort" (if empty) or "ignore"
	Start    string   `json:"start"`       // how often it is started: for each "operation" (if empty) or "event"

	shell bool // a hook: told by its environment, and answers by its exit code
	dir   string
	fn    func(client.Event) (*Reply, error) // of one that is built in
}

// Values of Failure and Start.
const (
	Abort     = "abort"
	Ignore    = "ignore"
	Operation = "operation"
	Each      = "event"
)

const (
	usualDeadline = 5 * time.Second
	hookDeadline  = 60 * time.Second
	maxDeadline   = 10 * time.Minute
)

// eventNames are all events.
var eventNames = []string{client.BeforeFreeze, client.Frozen, client.Captured, client.Resumed, client.Committed, client.SnapshotFail,
	client.BeforeRestart, client.Restored, client.Restarted, client.Gone}

// Load reads plugins.
func Load(specs []Spec) ([]*Plugin, error) {
	var list []*Plugin
	for _, s := range specs {
		p, err := s.load()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func (s Spec) load() (*Plugin, error) {
	switch {
	case s.File != "":
		return read(s.File)
	case s.SignalBefore != "" || s.SignalAfter != "":
		return signals(s.SignalBefore, s.SignalAfter)
	case s.Exclude != "":
		return excluding(s.Exclude)
	}
	return s.hook(), nil
}

// hook makes a plugin of a shell command. Before a snapshot and a restart its
// failure is a reason to give up; after it, it is too late.
func (s Spec) hook() *Plugin {
	p := &Plugin{Name: s.Command, Command: []string{"/bin/sh", "-c", s.Command}, Events: []string{s.Event}, Deadline: hookDeadline.Milliseconds(),
		Failure: Ignore, Start: Each, shell: true}
	if slices.Contains(Asked, s.Event) {
		p.Failure = Abort
	}
	return p
}

// read reads a manifest.
func read(file string) (*Plugin, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	p := &Plugin{dir: filepath.Dir(file)}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("plugin %s: %w", file, err)
	}
	if p.Name == "" {
		p.Name = filepath.Base(file)
	}
	if p.Deadline == 0 {
		p.Deadline = usualDeadline.Milliseconds()
	}
	return p, p.check(file)
}

func (p *Plugin) check(file string) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("plugin %s: "+format, append([]any{file}, args...)...)
	}
	switch {
	case len(p.Command) == 0:
		return wrong("no command")
	case len(p.Events) == 0:
		return wrong("no events")
	case p.Deadline < 1 || p.Deadline > maxDeadline.Milliseconds():
		return wrong("deadline_ms is not within 1 and %d", maxDeadline.Milliseconds())
	case !slices.Contains([]string{"", Abort, Ignore}, p.Failure):
		return wrong("failure is %q, neither abort nor ignore", p.Failure)
	case !slices.Contains([]string{"", Operation, Each}, p.Start):
		return wrong("start is %q, neither operation nor event", p.Start)
	}
	for _, e := range p.Events {
		if !slices.Contains(eventNames, e) {
			return wrong("there is no event %q", e)
		}
	}
	return nil
}

// path is the program.
func (p *Plugin) path() string {
	name := p.Command[0]
	if p.dir != "" && filepath.Base(name) != name && !filepath.IsAbs(name) {
		return filepath.Join(p.dir, name)
	}
	return name
}
