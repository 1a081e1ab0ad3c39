package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"supervise/memimg"
	"supervise/supervisor"
)

type imagesCmd struct {
	List   imagesListCmd   `cmd:"" default:"withargs" help:"List the snapshots of a job, or of all (the default)."`
	Remove imagesRemoveCmd `cmd:"" help:"Remove snapshots by number."`
	Prune  imagesPruneCmd  `cmd:"" help:"Remove snapshots but for those that are to be kept."`
}

// jobsDirFlag is where jobs are.
type jobsDirFlag struct {
	Dir string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
}

// jobs gives the directory of jobs, and the names to look at: one, or all.
func (f *jobsDirFlag) jobs(name string) (dir string, names []string, err error) {
	if dir, err = supervisor.JobsDir(f.Dir); err != nil {
		return "", nil, err
	}
	if name != "" {
		return dir, []string{name}, nil
	}
	names, err = supervisor.JobNames(dir)
	return dir, names, err
}

type imagesListCmd struct {
	jobsDirFlag
	Name string `arg:"" optional:"" help:"Name of the job. Default: all."`
	JSON bool   `name:"json" help:"Print the list as JSON."`
}

// imageRow is one snapshot as images --json prints it.
type imageRow struct {
	Name      string                `json:"name"`
	Job       string                `json:"job"`
	Number    int                   `json:"number"`
	State     supervisor.ImageState `json:"state"`
	Problem   string                `json:"problem,omitempty"` // why it is not good
	Created   *time.Time            `json:"created,omitempty"` // missing when it cannot be read, as what follows
	RootPID   int                   `json:"root_pid,omitempty"`
	Processes int                   `json:"processes,omitempty"`
	PageBytes int64                 `json:"page_bytes,omitempty"`
	Layers    []string              `json:"layers,omitempty"`
	DiskBytes int64                 `json:"disk_bytes"`
	Dir       string                `json:"dir"`
}

func (c *imagesListCmd) Run(out *output) error {
	dir, names, err := c.jobs(c.Name)
	if err != nil {
		return err
	}
	rows := []imageRow{}
	for _, name := range names {
		images, err := supervisor.JobImages(dir, name)
		if c.Name == "" && isAbsent(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, i := range images {
			rows = append(rows, rowOf(i))
		}
	}
	if c.JSON {
		return out.json(rows)
	}
	return printImages(out, rows)
}

// isAbsent reports whether a job's directory, seen in a list, is another user's or
// gone meanwhile.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}

func rowOf(i *supervisor.StoredImage) imageRow {
	row := imageRow{Name: i.Name(), Job: i.Job, Number: i.Number, State: i.State, Dir: i.Dir}
	if i.Err != nil {
		row.Problem = i.Err.Error()
	}
	if m := &i.Manifest; m.ID != "" {
		row.Created = &m.Created
		row.RootPID, row.Processes, row.PageBytes = m.Summary.RootPID, m.Summary.Processes, m.Summary.PageBytes
		for _, l := range m.Layers {
			row.Layers = append(row.Layers, l.Dir)
		}
	}
	row.DiskBytes, _ = memimg.DiskUsage(i.Dir)
	return row
}

// printImages prints the list for people.
func printImages(out *output, rows []imageRow) error {
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCREATED\tDISK\tMEMORY\tPROCESSES\tSTATE")
	for _, r := range rows {
		created, memory, processes := "-", "-", "-"
		if r.Created != nil {
			created = r.Created.Local().Format("2006-01-02 15:04:05")
			memory, processes = byteCount(r.PageBytes), strconv.Itoa(r.Processes)
		}
		state := string(r.State)
		if r.State == supervisor.Damaged || r.State == supervisor.Unreadable {
			state += ": " + r.Problem
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, created, byteCount(r.DiskBytes), memory, processes, state)
	}
	return w.Flush()
}

type imagesRemoveCmd struct {
	jobsDirFlag
	Images []string `arg:"" name:"name@nnnn" help:"Snapshots to remove."`
}

func (c *imagesRemoveCmd) Help() string {
	return "Of the snapshots of one job, all are removed or none: none when one is not there, or when another " +
		"that stays has pages in one of them."
}

func (c *imagesRemoveCmd) Run() error {
	dir, err := supervisor.JobsDir(c.Dir)
	if err != nil {
		return err
	}
	var jobs []string // in the order given
	numbers := make(map[string][]int)
	for _, image := range c.Images {
		job, number, _ := strings.Cut(image, "@")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			return &usageError{fmt.Errorf("%s: expected NAME@NUMBER", image)}
		}
		if numbers[job] == nil {
			jobs = append(jobs, job)
		}
		numbers[job] = append(numbers[job], n)
	}
	for _, job := range jobs {
		if err := supervisor.RemoveImages(context.Background(), dir, job, numbers[job]); err != nil {
			return err
		}
	}
	return nil
}

// retentionFlags say what to keep.
type retentionFlags struct {
	Keep       int `help:"Keep the newest N good snapshots." placeholder:"N"`
	KeepHourly int `help:"Keep the newest good one of each of the last N hours that have one." placeholder:"N"`
	KeepDaily  int `help:"The same for days." placeholder:"N"`
	KeepWeekly int `help:"The same for weeks, which begin on Monday." placeholder:"N"`
}

// Validate is called by kong.
func (f *retentionFlags) Validate() error {
	if min(f.Keep, f.KeepHourly, f.KeepDaily, f.KeepWeekly) < 0 {
		return errors.New("cannot keep fewer than no snapshots")
	}
	return nil
}

func (f *retentionFlags) retention() supervisor.Retention {
	return supervisor.Retention{Keep: f.Keep, Hourly: f.KeepHourly, Daily: f.KeepDaily, Weekly: f.KeepWeekly}
}

type imagesPruneCmd struct {
	jobsDirFlag
	retentionFlags
	Name   string `arg:"" optional:"" help:"Name of the job. Default: all."`
	DryRun bool   `short:"n" help:"Only tell what would be removed."`
	JSON   bool   `name:"json" help:"Print what becomes of each snapshot as JSON."`
}

func (c *imagesPruneCmd) Help() string {
	return "Never removed are the newest good snapshot, which is read as a whole first, damaged ones that are newer, " +
		"and those that have pages of one that is kept. What killed writers have left is removed."
}

// verdictRow is what becomes of one snapshot, as images prune --json prints it.
type verdictRow struct {
	Name   string `json:"name"`
	Remove bool   `json:"remove"`
	Why    string `json:"why,omitempty"` // it is kept
}

func (c *imagesPruneCmd) Run(out *output) error {
	if c.retention().None() {
		return &usageError{errors.New("expected --keep, --keep-hourly, --keep-daily or --keep-weekly")}
	}
	dir, names, err := c.jobs(c.Name)
	if err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	rows := []verdictRow{}
	for _, name := range names {
		bar := out.newProgress("verifying")
		verdicts, err := supervisor.Prune(ctx, supervisor.PruneOptions{Dir: dir, Job: name, Retention: c.retention(),
			DryRun: c.DryRun, Progress: bar.update})
		bar.end()
		if c.Name == "" && isAbsent(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, v := range verdicts {
			rows = append(rows, verdictRow{v.Image.Name(), v.Remove, v.Why})
		}
	}
	if c.JSON {
		return out.json(rows)
	}
	c.print(out, rows)
	return nil
}

// print tells what was removed; a dry run also why the rest is kept.
func (c *imagesPruneCmd) print(out *output, rows []verdictRow) {
	for _, r := range rows {
		switch {
		case r.Remove && c.DryRun:
			out.printf("%s: would be removed\n", r.Name)
		case r.Remove:
			out.printf("%s: removed\n", r.Name)
		case c.DryRun:
			out.printf("%s: kept (%s)\n", r.Name, r.Why)
		}
	}
}
