package main

import (
	"errors"
	"time"

	"supervise/supervisor"
)

type snapshotCmd struct {
	jobsDirFlag
	retentionFlags
	Target  string        `arg:"" optional:"" name:"pid|name" help:"Root of the tree, its supervisor, or the name of a job."`
	PidFile string        `help:"Take the pid from this file instead." placeholder:"FILE" type:"path"`
	Name    string        `help:"Keep the snapshots under this name. Default: the job's; with --pid-file the file's, without .pid." placeholder:"N"`
	MaxAge  time.Duration `help:"It is an error when the newest good snapshot is older than this after all." placeholder:"DUR"`
	JSON    bool          `name:"json" help:"Print facts about the snapshot as JSON."`

	annotateFlag
	pluginFlags
	checkpointRules
}

func (c *snapshotCmd) Help() string {
	return "Takes one snapshot and then removes those that are not to be kept, if any --keep is given. Silent when all went well. " +
		"If another snapshot of the job is being taken and goes on for three seconds more, this one is left to that, which is no error " +
		"while the newest good one is younger than --max-age."
}

// Validate is called by kong.
func (c *snapshotCmd) Validate() error {
	switch {
	case (c.Target == "") == (c.PidFile == ""):
		return errors.New("expected either a pid or the name of a job, or --pid-file")
	case c.MaxAge < 0:
		return errors.New("--max-age is negative")
	}
	return errors.Join(c.annotateFlag.Validate(), c.pluginFlags.Validate(), c.retentionFlags.Validate())
}

// takenFacts is what snapshot --json prints.
type takenFacts struct {
	Skipped bool `json:"skipped"` // since another is being taken; all else is missing then
	*snapshotFacts
}

func (c *snapshotCmd) Run(out *output) error {
	start := time.Now()
	if c.Name != "" {
		if err := supervisor.CheckName(c.Name); err != nil {
			return err
		}
	}
	dir, err := supervisor.JobsDir(c.Dir)
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
	s, err := supervisor.TakeSnapshot(ctx, supervisor.SnapshotOptions{
		Dir:       dir,
		Target:    c.Target,
		PIDFile:   c.PidFile,
		Name:      c.Name,
		Retention: c.retention(),
		MaxAge:    c.MaxAge,
		Program:   version(),
		Policy:    rules.policy,
		Rules:     rules.first,
		Annotate:  c.Annotate,
		Plugins:   c.specs(),
		Hook:      bar.hook(interruptible(ctx)),
		Progress:  bar.update,
	})
	bar.end()
	if err != nil {
		return err
	}
	if !c.JSON {
		return nil
	}
	facts := takenFacts{Skipped: s.Skipped}
	if !s.Skipped {
		taken := factsOf(s.Image, s.Result, time.Since(start))
		facts.snapshotFacts = &taken
	}
	return out.json(facts)
}
