package main

import (
	"errors"

	"supervise/internal/features"
	"supervise/supervisor"
)

type runCmd struct {
	Name       string `help:"Name of the job. Default: the command's, with a number if that is taken." placeholder:"N"`
	Dir        string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
	Policy     string `help:"Snapshots of the job go by the rules in this file." placeholder:"FILE" type:"path"`
	NoIoUring  bool   `name:"no-io-uring" help:"Make the program believe that this kernel has no io_uring, which cannot be captured. Unless root starts it, setuid programs get no privilege under it."`
	Virtualize string `help:"The program keeps seeing what this host has now, after a restart elsewhere too: the host name, machine and boot ids, files, addresses that the rules in this file name. See docs/virtualize.md." placeholder:"RULES" type:"path"`
	scheduleFlags
	pluginFlags
	Command []string `arg:"" passthrough:"partial" name:"cmd" help:"Command and its arguments, after --."`
}

// Validate is called by kong.
func (c *runCmd) Validate() error {
	return errors.Join(c.scheduleFlags.Validate(), c.pluginFlags.Validate())
}

func (c *runCmd) Help() string {
	return "Signals, terminal and exit status pass through as if supervise were not there. " +
		"Should supervise be killed, the program goes on."
}

func (c *runCmd) Run(out *output) error {
	command := c.Command
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return &usageError{errNoCommand}
	}
	if c.Name != "" {
		if err := supervisor.CheckName(c.Name); err != nil {
			return err
		}
	}
	if _, err := supervisor.ReadPolicy(c.Policy); err != nil {
		return err
	}
	rules, err := supervisor.HostRules(c.Virtualize)
	if err != nil {
		return err
	}
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return &ownError{err}
	}
	if c.Interval > 0 {
		warnUntraceable(out)
	}
	status, err := supervisor.Run(supervisor.RunOptions{Command: command, Name: c.Name, Dir: dir, Program: version(), Policy: c.Policy,
		NoIoUring: c.NoIoUring, Virtual: rules, Schedule: c.schedule(), Plugins: c.specs()})
	if err != nil {
		return &ownError{err}
	}
	supervisor.End(status)
	return nil
}

// warnUntraceable says at once what every snapshot of the schedule would: the
// process that takes it is no ancestor of the program, as Yama wants it.
func warnUntraceable(out *output) {
	if attach := features.Probe("attach"); !attach.OK {
		out.log.Warn().Str("reason", attach.Reason).Str("hint", attach.Enable).
			Msg("snapshots will fail: this user may trace only descendants, and they are taken by a process beside the program")
	}
}
