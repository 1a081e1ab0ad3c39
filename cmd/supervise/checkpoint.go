package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/fdstate"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/policy"
	"supervise/supervisor"
	"supervise/tracer"
)

type checkpointCmd struct {
	Target string `arg:"" name:"pid|name" help:"Root of the tree, its supervisor, or the name of a job."`
	Image  string `help:"Put the snapshot into this new or empty directory. Default: DIR/NAME/NNNN in the directory of jobs." placeholder:"DIR" type:"path"`
	Dir    string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
	Stop   bool   `help:"End the tree once the snapshot is committed."`
	TCP    string `name:"tcp" help:"keep, with --stop and as root: keep TCP connections that lead out of the tree for restart --tcp=keep, so that the other ends notice nothing." enum:",keep" default:"" placeholder:"keep"`
	JSON   bool   `name:"json" help:"Print facts about the snapshot as JSON instead of its directory, or why there is none as {\"error\": {\"code\": ...}}."`

	annotateFlag
	pluginFlags
	checkpointRules
}

// annotateFlag gives strings that go into the manifest.
type annotateFlag struct {
	Annotate map[string]string `help:"Keep this string with the snapshot. May be given more than once." placeholder:"NAME=TEXT" mapsep:"none"`
}

// Validate is called by kong.
func (f *annotateFlag) Validate() error {
	for key, value := range f.Annotate {
		if err := control.CheckAnnotation(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Validate is called by kong.
func (c *checkpointCmd) Validate() error {
	if c.TCP != "" && !c.Stop {
		return errors.New("--tcp=keep needs --stop: a connection cannot be in a tree that goes on and in its copy")
	}
	return errors.Join(c.annotateFlag.Validate(), c.pluginFlags.Validate())
}

// rules are those of the flags and of the policy.
func (c *checkpointCmd) rules() (ruleSet, error) {
	set, err := c.checkpointRules.rules()
	if err != nil || c.TCP == "" {
		return set, err
	}
	keep, err := outsideRule("tcp", c.TCP, "tcp-socket")
	keep.When = policy.Checkpoint
	set.first = append(set.first, *keep)
	return set, err
}

func (c *checkpointCmd) Help() string {
	return "The tree stands still only while its state is read, and goes on as if nothing had happened. " +
		"A snapshot that fails leaves it running. Prints the directory of the snapshot."
}

// snapshotFacts is what checkpoint --json prints.
type snapshotFacts struct {
	Image     string         `json:"image"` // its directory
	ID        string         `json:"id"`
	Job       string         `json:"job"`
	RootPID   int            `json:"root_pid"`
	Processes int            `json:"processes"`
	Threads   int            `json:"threads"`
	PageBytes int64          `json:"page_bytes"`
	Pause     time.Duration  `json:"pause_ns"` // how long the tree stood still
	Total     time.Duration  `json:"total_ns"` // how long the command took
	Stopped   bool           `json:"stopped"`  // the tree was ended
	Phases    []memimg.Phase `json:"phases"`
	LeftOut   []fdstate.Left `json:"left_out"` // descriptors that the policy left out
	Problems  []string       `json:"plugin_problems,omitempty"`
}

// failedFacts is what checkpoint --json prints when there is no snapshot.
type failedFacts struct {
	Error *client.Error `json:"error"`
}

func (c *checkpointCmd) Run(out *output) error {
	err := c.take(out)
	if err != nil && c.JSON {
		err = errors.Join(err, out.json(failedFacts{supervisor.ErrorAnswer(err, hint(err))}))
	}
	return err
}

// take takes the snapshot.
func (c *checkpointCmd) take(out *output) error {
	start := time.Now()
	target, err := c.find()
	if err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	rules, err := c.rules()
	if err != nil {
		return err
	}
	bar := out.newProgress("waiting for the job's lock")
	image, result, err := supervisor.Checkpoint(ctx, supervisor.CheckpointOptions{
		Target:   target,
		Image:    c.Image,
		Program:  version(),
		Stop:     c.Stop,
		Policy:   rules.policy,
		Rules:    rules.first,
		Annotate: c.Annotate,
		Plugins:  c.specs(),
		Hook:     bar.hook(interruptible(ctx)),
		Progress: bar.update,
	})
	bar.end()
	if err != nil {
		return err
	}
	return c.report(out, image, result, time.Since(start))
}

// find finds the tree.
func (c *checkpointCmd) find() (*supervisor.Target, error) {
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return nil, err
	}
	return supervisor.FindTarget(dir, c.Target, "")
}

// report tells where the snapshot is and what it holds.
func (c *checkpointCmd) report(out *output, image string, r *tracer.Result, took time.Duration) error {
	facts := factsOf(image, r, took)
	facts.Stopped = c.Stop
	if c.JSON {
		return out.json(facts)
	}
	out.printf("%s\n", facts.Image)
	for _, problem := range r.Problems {
		out.log.Warn().Msg(problem)
	}
	out.log.Info().Str("job", facts.Job).Int("pid", facts.RootPID).Int("processes", facts.Processes).
		Int("threads", facts.Threads).Str("memory", byteCount(facts.PageBytes)).
		Str("pause", round(facts.Pause).String()).Msg("snapshot taken")
	return nil
}

// factsOf gives the facts about a snapshot that was taken.
func factsOf(image string, r *tracer.Result, took time.Duration) snapshotFacts {
	if abs, err := filepath.Abs(image); err == nil {
		image = abs
	}
	m := &r.Manifest
	return snapshotFacts{
		Image: image, ID: m.ID, Job: m.Summary.Job, RootPID: m.Summary.RootPID,
		Processes: m.Summary.Processes, Threads: m.Summary.Threads, PageBytes: m.Summary.PageBytes,
		Pause: r.Pause, Total: took, Phases: m.Phases,
		LeftOut: append([]fdstate.Left{}, r.Left...), Problems: r.Problems,
	}
}

// round keeps three digits or so of a duration.
func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// errInterrupted is a snapshot or restart that a signal has ended.
var (
	errInterrupted = errors.New("interrupted")
	errNoCommand   = errors.New("expected a command to run")
)

// untilSignal gives a context that is done when somebody wants this process to
// end.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
}

// interruptible ends an operation at the next phase after ctx is done. Until
// then it is in order, so nothing is left behind.
func interruptible(ctx context.Context) plugins.Hook {
	return func(phase plugins.Phase) error {
		if ctx.Err() != nil {
			return fmt.Errorf("%w before %s", errInterrupted, phase)
		}
		return nil
	}
}
