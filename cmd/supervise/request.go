package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"supervise/plugins/client"
	"supervise/supervisor"
)

type requestCmd struct {
	Checkpoint requestCheckpoint `cmd:"" help:"Take a snapshot. Prints 'resumed IMAGE', and 'restarted IMAGE' in every copy restarted from it."`
	Status     requestStatus     `cmd:"" help:"Tell how the job is."`
	List       requestList       `cmd:"" help:"List the job's snapshots, the oldest first."`
	Remove     requestRemove     `cmd:"" help:"Remove a snapshot."`
	Restore    requestRestore    `cmd:"" help:"Replace the tree by an earlier snapshot of itself."`
	Hold       requestHold       `cmd:"" help:"Hold snapshots back until release, until the calling process ends, or the time is over."`
	Release    requestRelease    `cmd:"" help:"End one hold."`
	Annotate   requestAnnotate   `cmd:"" help:"Set strings that later snapshots carry; NAME= removes one."`
}

// requestFlags say whom to ask, and how to answer.
type requestFlags struct {
	Job  string `help:"Ask the supervisor of this job. Default: that of the tree that this command is in." placeholder:"NAME|PID"`
	Dir  string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
	JSON bool   `name:"json" help:"Print the answer as JSON."`
}

// ask makes a request.
func (f *requestFlags) ask(request string, params, result any) error {
	dir, err := supervisor.JobsDir(f.Dir)
	if err != nil {
		return err
	}
	path, err := supervisor.FindSocket(dir, f.Job)
	if err != nil {
		return err
	}
	c, err := client.Dial(path)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(request, params, result)
}

// answer prints the answer, as JSON or by a function.
func (f *requestFlags) answer(out *output, result any, print func()) error {
	if f.JSON {
		return out.json(result)
	}
	print()
	return nil
}

type requestCheckpoint struct {
	requestFlags
	Name string `arg:"" optional:"" help:"A name to keep with the snapshot."`
}

func (c *requestCheckpoint) Run(out *output) error {
	params := map[string]string{}
	if c.Name != "" {
		params["name"] = c.Name
	}
	return c.outcome(out, "checkpoint", params)
}

// outcome makes a request whose answer is one.
func (f *requestFlags) outcome(out *output, request string, params map[string]string) error {
	var o client.Outcome
	if err := f.ask(request, params, &o); err != nil {
		return err
	}
	return f.answer(out, o, func() { out.printf("%s %s\n", o.Outcome, o.Image) })
}

type requestStatus struct{ requestFlags }

func (c *requestStatus) Run(out *output) error {
	var s client.Status
	if err := c.ask("status", nil, &s); err != nil {
		return err
	}
	return c.answer(out, s, func() { printStatus(out, &s) })
}

// printStatus prints a status for people.
func printStatus(out *output, s *client.Status) {
	w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	defer w.Flush()
	row := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	row("job", "%s", s.Job)
	row("tree", "pid %d, %d processes, %s", s.RootPID, s.Processes, s.State)
	row("supervisor", "%d", s.SupervisorPID)
	row("generation", "%d", s.Generation)
	row("snapshots", "%d, newest %s", s.Snapshots, s.Newest)
	for _, h := range s.Holds {
		row("held back by", "%q, for %v more", h.Owner, time.Duration(h.LeftMS)*time.Millisecond)
	}
	for _, key := range sortedKeys(s.Annotations) {
		row("annotation", "%s=%s", key, s.Annotations[key])
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

type requestList struct{ requestFlags }

func (c *requestList) Run(out *output) error {
	var l client.List
	if err := c.ask("list", nil, &l); err != nil {
		return err
	}
	return c.answer(out, l, func() {
		w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
		defer w.Flush()
		for _, s := range l.Snapshots {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Snapshot, s.State, s.Annotations["name"])
		}
	})
}

type requestRemove struct {
	requestFlags
	Snapshot string `arg:"" help:"Its number, or NAME@NNNN."`
}

func (c *requestRemove) Run(out *output) error {
	var r struct {
		Removed string `json:"removed"`
	}
	if err := c.ask("remove", map[string]string{"snapshot": c.Snapshot}, &r); err != nil {
		return err
	}
	return c.answer(out, r, func() { out.printf("removed %s\n", r.Removed) })
}

type requestRestore struct {
	requestFlags
	Snapshot string `arg:"" optional:"" help:"Its number, or NAME@NNNN. Default: the newest good one."`
}

func (c *requestRestore) Run(out *output) error {
	params := map[string]string{}
	if c.Snapshot != "" {
		params["snapshot"] = c.Snapshot
	}
	return c.outcome(out, "restore", params)
}

type requestHold struct {
	requestFlags
	Owner   string        `help:"Name of the hold, for release. Default: the pid of the calling process." placeholder:"NAME"`
	Timeout time.Duration `help:"How long at most." default:"30s" placeholder:"DUR"`
}

// holder is the default owner of holds: the script that calls this command.
func holder(owner string) string {
	if owner == "" {
		return fmt.Sprint("script ", os.Getppid())
	}
	return owner
}

func (c *requestHold) Run(out *output) error {
	params := map[string]any{"owner": holder(c.Owner), "timeout_ms": c.Timeout.Milliseconds(), "detached": true, "parent": true}
	return c.hold(out, "hold", params)
}

func (f *requestFlags) hold(out *output, request string, params map[string]any) error {
	var h client.Hold
	if err := f.ask(request, params, &h); err != nil {
		return err
	}
	return f.answer(out, h, func() { out.printf("%s holds %d deep\n", h.Owner, h.Depth) })
}

type requestRelease struct {
	requestFlags
	Owner string `help:"Name of the hold. Default: the pid of the calling process." placeholder:"NAME"`
}

func (c *requestRelease) Run(out *output) error {
	return c.hold(out, "release", map[string]any{"owner": holder(c.Owner), "detached": true})
}

type requestAnnotate struct {
	requestFlags
	Set []string `arg:"" name:"name=text" help:"What to set."`
}

func (c *requestAnnotate) Run(out *output) error {
	set := map[string]*string{}
	for _, s := range c.Set {
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			return &usageError{fmt.Errorf("%q is not NAME=TEXT", s)}
		}
		set[name] = &text
		if text == "" {
			set[name] = nil
		}
	}
	var r struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := c.ask("annotate", map[string]any{"set": set}, &r); err != nil {
		return err
	}
	return c.answer(out, r, func() {
		for _, key := range sortedKeys(r.Annotations) {
			out.printf("%s=%s\n", key, r.Annotations[key])
		}
	})
}
