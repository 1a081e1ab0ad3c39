package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"supervise/memimg"
	"supervise/restorer"
	"supervise/supervisor"
)

type restartCmd struct {
	imageArg
	Detach  bool   `help:"Return as soon as every process runs, and leave the tree to itself."`
	Force   bool   `help:"Even if programs, libraries or other files that it maps have been replaced since the snapshot."`
	PidFile string `help:"Write the host pid of the tree's root here, last of all." placeholder:"FILE" type:"path"`
	Net     string `help:"Network namespace: host (this one), private (one of the tree's own, with its addresses, from which nothing leads outside), or as-before." enum:"as-before,host,private" default:"as-before" placeholder:"WHICH"`
	Ids     string `name:"ids" help:"Process ids: keep (the old ones in this pid namespace, or no restart: takes CAP_SYS_ADMIN), namespace (in a pid namespace of the tree's own), translate (the tree gets new ones, and a process at its side lets it see the old ones: takes no privilege, see docs/virtualize.md), or auto (keep where that can be)." enum:"auto,keep,namespace,translate" default:"auto" placeholder:"HOW"`
	EnvFile string `help:"Change environment variables of the tree as this file says (docs/plugins.md)." placeholder:"FILE" type:"path"`
	Log     string `help:"Append what is restored to this file, as JSON lines: processes, descriptors and what becomes of them, what plugins change." placeholder:"FILE" type:"path"`
	Answer  string `hidden:"" placeholder:"FD:ID"`
	JSON    bool   `name:"json" help:"With --detach: print facts about the tree as JSON."`

	Virtualize string `help:"The rules in this file come before those that the program was started with. See docs/virtualize.md." placeholder:"RULES" type:"path"`

	Interval *time.Duration `help:"Take a snapshot regularly. Default: as before the snapshot. 0: none." placeholder:"DUR"`
	Keep     *int           `help:"Keep only the newest N good snapshots. Default: as before the snapshot. 0: all." placeholder:"N"`

	restartRules
	pluginFlags
}

func (c *restartCmd) Help() string {
	return "The job is recorded in the directory of jobs that --dir names, else in the one that the snapshot lies in. " +
		"In the foreground it behaves as run does: signals, terminal and exit status pass through. " +
		"No process runs before all are complete; if that fails, nothing of them is left and the snapshot is as it was."
}

// Validate is called by kong.
func (c *restartCmd) Validate() error {
	if c.Detach && c.Interval != nil && *c.Interval > 0 {
		return errors.New("--interval needs a supervisor: leave out --detach, or use supervise attach afterwards")
	}
	return errors.Join(c.given(supervisor.Schedule{}).Validate(), c.pluginFlags.Validate())
}

// given changes a schedule as the flags say.
func (c *restartCmd) given(s supervisor.Schedule) supervisor.Schedule {
	if c.Interval != nil {
		s.Interval = *c.Interval
	}
	if c.Keep != nil {
		s.Keep = *c.Keep
	}
	return s
}

// schedule is what the flags make of the job's, by which it goes on without
// them. A detached tree has no supervisor that could.
func (c *restartCmd) schedule(job *memimg.Summary) (supervisor.Schedule, error) {
	if c.Detach {
		return supervisor.Schedule{}, nil
	}
	s := c.given(supervisor.Schedule{Interval: job.Interval, Keep: job.Keep})
	switch {
	case s.Interval > 0:
	case c.Keep != nil && *c.Keep > 0:
		return s, &usageError{errors.New("--keep needs --interval, which the job did not have")}
	default:
		s.Keep = 0
	}
	if err := s.Validate(); err != nil {
		return s, &usageError{err}
	}
	return s, nil
}

// restartFacts is what restart --detach --json prints.
type restartFacts struct {
	PID   int    `json:"pid"` // of the tree's root, as this host sees it
	Job   string `json:"job"` // empty if it could not be recorded
	Image string `json:"image"`

	Total  time.Duration  `json:"total_ns"`
	Phases []memimg.Phase `json:"phases"`
}

func (c *restartCmd) Run(out *output) error {
	found, err := c.find(out)
	if err != nil {
		return err
	}
	start := time.Now()
	answer, err := supervisor.ParseAnswer(c.Answer)
	if err != nil {
		return &usageError{err}
	}
	r, err := c.restart(out, found, answer)
	if err != nil {
		answer.Failed(err, hint(err))
		if image := (&imageError{}); !c.Detach && !errors.As(err, &image) {
			return &ownError{err}
		}
		return err
	}
	if r.NoRecord != nil {
		what := "the job is not recorded; use its pid"
		if r.Scheduled() {
			what = "the job is not recorded, so no snapshots of it are taken by themselves"
		}
		out.log.Warn().Err(r.NoRecord).Msg(what)
	}
	for _, problem := range r.Problems {
		out.log.Warn().Msg(problem)
	}
	if c.PidFile != "" {
		if err := writePidFile(c.PidFile, r.Root); err != nil {
			out.log.Warn().Err(err).Int("pid", r.Root).Msg("the pid file is not written")
		}
	}
	if c.Detach {
		if c.JSON {
			return out.json(restartFacts{PID: r.Root, Job: r.Name, Image: found.Dir, Total: time.Since(start), Phases: r.Phases})
		}
		return nil
	}
	status, err := r.Wait()
	if err != nil {
		return &ownError{err}
	}
	supervisor.End(status)
	return nil
}

// restart brings the tree back.
func (c *restartCmd) restart(out *output, found *supervisor.FoundImage, answer supervisor.Answer) (*supervisor.Restarted, error) {
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return nil, err
	}
	manifest, err := memimg.ReadManifest(found.Dir)
	if err != nil {
		return nil, &imageError{found, err}
	}
	rules, err := c.rules(manifest.Summary.Policy)
	if err != nil {
		return nil, err
	}
	schedule, err := c.schedule(&manifest.Summary)
	if err != nil {
		return nil, err
	}
	wishes, err := supervisor.ReadWishes(c.Virtualize)
	if err != nil {
		return nil, err
	}
	bar := out.newProgress("reading the snapshot")
	defer bar.end()
	r, err := supervisor.Restart(supervisor.RestartOptions{
		Image:    found.Dir,
		Force:    c.Force,
		Detach:   c.Detach,
		Dir:      dir,
		Schedule: schedule,
		FixedDir: c.Dir != "",
		Program:  version(),
		Answer:   answer,
		Plugins:  c.specs(),
		EnvFile:  c.EnvFile,
		Log:      c.Log,
		Again:    c.handover(),

		Policy:     rules,
		IDs:        restorer.IDs(c.Ids),
		Net:        restorer.Net(c.Net),
		Virtual:    wishes,
		PolicyFile: cmp.Or(c.Policy, manifest.Summary.Policy),

		Hook:     bar.hook(bar.endAtRelease),
		Progress: bar.update,
	})
	if errors.Is(err, memimg.ErrDamaged) {
		err = &imageError{found, err}
	}
	return r, err
}

// handover is what a restart in the place of this one is told again.
func (c *restartCmd) handover() supervisor.Handover {
	return supervisor.Handover{
		Virtualize: c.Virtualize,
		EnvFile:    c.EnvFile,
		Log:        c.Log,
		Force:      c.Force,
		IDs:        restorer.IDs(c.Ids),
		Net:        restorer.Net(c.Net),
		Plugins:    c.specs(),
		Flags:      c.flags(),
	}
}

// writePidFile writes the file at once: who finds it finds the whole pid.
func writePidFile(file string, pid int) error {
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".")
	if err != nil {
		return err
	}
	_, err = temp.WriteString(strconv.Itoa(pid) + "\n")
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
