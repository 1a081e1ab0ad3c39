package main

import (
	"errors"
	"time"

	"supervise/supervisor"
)

// scheduleFlags say which snapshots a supervisor takes by itself.
type scheduleFlags struct {
	Interval time.Duration `help:"Take a snapshot regularly, from the begin of one to that of the next." placeholder:"DUR"`
	Keep     int           `help:"With --interval: keep only the newest N good snapshots. Default: all." placeholder:"N"`
}

// Validate is called by kong.
func (f *scheduleFlags) Validate() error {
	if f.Keep > 0 && f.Interval == 0 {
		return errors.New("--keep needs --interval")
	}
	return f.schedule().Validate()
}

func (f *scheduleFlags) schedule() supervisor.Schedule {
	return supervisor.Schedule{Interval: f.Interval, Keep: f.Keep}
}

type attachCmd struct {
	Target string `arg:"" name:"pid|name" help:"Root of the tree, or the name of a job that has no supervisor."`
	Name   string `help:"Name of the job. Default: COMMAND-PID." placeholder:"N"`
	Dir    string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
	Policy string `help:"Snapshots of the job go by the rules in this file." placeholder:"FILE" type:"path"`
	scheduleFlags
	pluginFlags
}

// Validate is called by kong.
func (c *attachCmd) Validate() error {
	return errors.Join(c.scheduleFlags.Validate(), c.pluginFlags.Validate())
}

func (c *attachCmd) Help() string {
	return "Stays until the tree ends, and ends with 0 then: how the tree ended, only its parent is told. " +
		"SIGINT, SIGTERM and SIGHUP let the tree go; it runs on. Processes of the tree that lose their parent leave the tree, " +
		"as they do without a supervisor."
}

func (c *attachCmd) Run(out *output) error {
	if c.Name != "" {
		if err := supervisor.CheckName(c.Name); err != nil {
			return err
		}
	}
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return err
	}
	if _, err := supervisor.ReadPolicy(c.Policy); err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	a, err := supervisor.Attach(supervisor.AttachOptions{Target: c.Target, Name: c.Name, Dir: dir,
		Program: version(), Policy: c.Policy, Schedule: c.schedule(), Plugins: c.specs()})
	if err != nil {
		return err
	}
	out.log.Info().Str("job", a.Name).Int("pid", a.Root).Msg("attached")
	ended, err := a.Wait(ctx)
	if err != nil {
		return err
	}
	what := "let go; the tree runs on"
	if ended {
		what = "the tree has ended"
	}
	out.log.Info().Str("job", a.Name).Int("pid", a.Root).Msg(what)
	return nil
}
