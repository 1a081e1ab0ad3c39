package main

import (
	"errors"

	"supervise/internal/features"
	"supervise/supervisor"
)

type checkCmd struct {
	Dir  string `help:"Directory of jobs that is to hold images. Default: as for run." placeholder:"D"`
	JSON bool   `name:"json" help:"Print the table as JSON."`
}

func (c *checkCmd) Help() string {
	return "Tries each thing that supervise needs of the kernel, as this user, and tells what is missing, " +
		"why, and what would enable it. Exits with 0 if snapshots and restarts work, else with 5."
}

// checkFacts is what check --json prints.
type checkFacts struct {
	Snapshot bool           `json:"snapshot"` // snapshots work
	Restart  bool           `json:"restart"`
	Dir      string         `json:"dir"` // of jobs
	Features []featureFacts `json:"features"`
}

type featureFacts struct {
	Name    string `json:"name"`
	Since   string `json:"since"` // version of Linux
	Need    string `json:"need"`  // snapshot, restart, ids (one of them), better
	Enables string `json:"enables"`
	Without string `json:"without"`
	features.Result
}

func (c *checkCmd) Run(out *output) error {
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return err
	}
	all := features.ProbeAll(dir)
	snapshot, restart := features.Verdict(all)
	if c.JSON {
		err = out.json(newCheckFacts(dir, all, snapshot, restart))
	} else {
		printCheck(out, all, snapshot, restart)
	}
	if bad := errors.Join(snapshot, restart); bad != nil && err == nil {
		return &codedError{code: exitHost}
	}
	return err
}

func newCheckFacts(dir string, all []features.Named, snapshot, restart error) *checkFacts {
	facts := &checkFacts{Snapshot: snapshot == nil, Restart: restart == nil, Dir: dir}
	for _, f := range all {
		facts.Features = append(facts.Features,
			featureFacts{f.Name, f.Since, string(f.Need), f.Enables, f.Without, f.Result})
	}
	return facts
}

// printCheck prints the table for people.
func printCheck(out *output, all []features.Named, snapshot, restart error) {
	for _, f := range all {
		if f.OK {
			out.printf("yes  %-14s  %s\n", f.Name, f.Enables)
			continue
		}
		out.printf("no   %-14s  %s\n", f.Name, f.Enables)
		out.printf("     %-14s  reason: %s\n", "", f.Reason)
		out.printf("     %-14s  would enable it: %s\n", "", f.Enable)
		out.printf("     %-14s  without it: %s\n", "", f.Without)
	}
	out.printf("\nsnapshots: %s\nrestarts:  %s\n", verdict(snapshot), verdict(restart))
}

func verdict(err error) string {
	if err == nil {
		return "work for this user on this host"
	}
	return "do not work: " + err.Error()
}
