package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"supervise/memimg"
	"supervise/supervisor"
)

type psCmd struct {
	jobsDirFlag
	Name string `arg:"" optional:"" help:"Tell all about this job."`
	JSON bool   `name:"json" help:"Print the list, or the job, as JSON."`
}

// jobFacts is a job as ps --json prints it.
type jobFacts struct {
	Job        string              `json:"job"`
	PID        int                 `json:"pid"` // of the tree's root
	Processes  int                 `json:"processes"`
	State      string              `json:"state"`
	Command    []string            `json:"command"`
	Supervisor int                 `json:"supervisor_pid"` // 0: none
	Attached   bool                `json:"attached"`
	Interval   time.Duration       `json:"interval_ns"`
	Keep       int                 `json:"keep"`
	Policy     string              `json:"policy,omitempty"`
	Newest     string              `json:"newest_good"` // empty: none
	Created    *time.Time          `json:"newest_created"`
	Age        *float64            `json:"newest_age_s"`
	Failure    *supervisor.Failure `json:"last_failure"` // of the supervisor's own snapshots; null when the last went well
	Dir        string              `json:"dir"`
	Image      string              `json:"restarted_from,omitempty"`
	Restart    []memimg.Phase      `json:"restart_phases,omitempty"`
}

func (c *psCmd) Run(out *output) error {
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return err
	}
	if c.Name != "" {
		s, err := supervisor.Status(dir, c.Name)
		if err != nil {
			return err
		}
		facts := factsOfJob(s)
		if c.JSON {
			return out.json(facts)
		}
		return printJob(out, &facts)
	}
	all, err := supervisor.Statuses(dir)
	if err != nil {
		return err
	}
	rows := []jobFacts{}
	for _, s := range all {
		rows = append(rows, factsOfJob(s))
	}
	if c.JSON {
		return out.json(rows)
	}
	return printJobs(out, rows)
}

func factsOfJob(s *supervisor.JobStatus) jobFacts {
	f := jobFacts{
		Job: s.Name, PID: s.Root.PID, Processes: s.Processes, State: s.State, Command: s.Command,
		Attached: s.Attached, Interval: s.Interval, Keep: s.Keep, Policy: s.Policy,
		Failure: s.Failure, Dir: s.Dir, Image: s.Image, Restart: s.Restart,
	}
	if s.Supervised() {
		f.Supervisor = s.Supervisor.PID
	}
	if s.Newest != nil {
		age := time.Since(s.Newest.Manifest.Created).Seconds()
		f.Newest, f.Created, f.Age = s.Newest.Name(), &s.Newest.Manifest.Created, &age
	}
	return f
}

// newest tells of the newest good snapshot in words.
func (f *jobFacts) newest() (name, age string) {
	if f.Age == nil {
		return "-", "-"
	}
	return f.Newest, time.Duration(*f.Age * float64(time.Second)).Round(time.Second).String()
}

// supervisor tells who it is in words.
func (f *jobFacts) supervisor() string {
	switch {
	case f.Supervisor == 0:
		return "-"
	case f.Attached:
		return fmt.Sprintf("%d (attached)", f.Supervisor)
	}
	return fmt.Sprint(f.Supervisor)
}

// printJobs prints the list for people.
func printJobs(out *output, rows []jobFacts) error {
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tPID\tPROCESSES\tSTATE\tSUPERVISOR\tNEWEST GOOD\tAGE\tDIRECTORY")
	for _, f := range rows {
		newest, age := f.newest()
		if f.Failure != nil {
			age += ", the last failed"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", f.Job, f.PID, f.Processes, f.State, f.supervisor(), newest, age, f.Dir)
	}
	return w.Flush()
}

// printJob prints all about one job for people.
func printJob(out *output, f *jobFacts) error {
	w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	row := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	row("job", "%s", f.Job)
	row("tree", "pid %d, %d processes, %s", f.PID, f.Processes, f.State)
	row("command", "%s", strings.Join(f.Command, " "))
	row("supervisor", "%s", f.supervisor())
	if f.Interval > 0 {
		row("snapshots", "every %v%s", f.Interval, keeps(f.Keep))
	}
	newest, age := f.newest()
	row("newest good", "%s, age %s", newest, age)
	if f.Failure != nil {
		row("failed", "%s: %s", f.Failure.Time.Local().Format("2006-01-02 15:04:05"), f.Failure.Message)
	}
	row("directory", "%s", f.Dir)
	if f.Image != "" {
		row("restarted", "from %s", f.Image)
		printPhases(row, f.Restart)
	}
	return w.Flush()
}

func keeps(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", the newest %d are kept", n)
}
