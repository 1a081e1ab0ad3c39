package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"supervise/plugins"
	"supervise/policy"
	"supervise/tracer"
)

// SnapshotOptions say of what to take a snapshot, from time to time, and what to
// keep.
type SnapshotOptions struct {
	Dir       string // of jobs
	Target    string // pid or name of a job; or
	PIDFile   string // a file with a pid
	Name      string // under which the snapshots are kept; see FindTarget. With a pid file its name does
	Retention Retention
	MaxAge    time.Duration  // 0: any
	Program   string         // our own version, for the manifest
	Policy    *policy.Policy // as for Checkpoint, as all that follows
	Rules     []policy.Rule
	Annotate  map[string]string
	Plugins   []plugins.Spec
	Hook      plugins.Hook
	Progress  func(done, total int64)
}

// Snapshot is what TakeSnapshot has done.
type Snapshot struct {
	Image   string
	Result  *tracer.Result
	Skipped bool // since another supervise is taking one
}

// StaleError says that the newest good snapshot of a job is too old.
type StaleError struct {
	Job    string
	Newest *StoredImage // nil: there is none
	Age    time.Duration
	Max    time.Duration
}

func (e *StaleError) Error() string {
	if e.Newest == nil {
		return fmt.Sprintf("job %s has no good snapshot", e.Job)
	}
	return fmt.Sprintf("the newest good snapshot of job %s, %s, is %v old, more than %v", e.Job, e.Newest.Name(), e.Age.Round(time.Second), e.Max)
}

// skipAfter is how long TakeSnapshot waits for another to end. Were it to wait
// for as long as that takes, those that a clock starts might become ever more.
const skipAfter = 3 * time.Second

// TakeSnapshot takes one snapshot and then removes those that are not to be
// kept. If another is being taken, it is left to that one. The error is, or
// includes, a *StaleError when there is no good snapshot after all that is young
// enough.
func TakeSnapshot(ctx context.Context, o SnapshotOptions) (*Snapshot, error) {
	job := o.Name
	if job == "" && o.PIDFile != "" {
		job = nameFor(strings.TrimSuffix(filepath.Base(o.PIDFile), ".pid"))
	}
	s, job, err := takeSnapshot(ctx, &o, job)
	if o.MaxAge == 0 {
		return s, err
	}
	if stale := checkAge(o.Dir, job, o.MaxAge); stale != nil {
		err = errors.Join(err, stale)
	}
	return s, err
}

// takeSnapshot also gives the name of the job, as far as it is known.
func takeSnapshot(ctx context.Context, o *SnapshotOptions, job string) (*Snapshot, string, error) {
	what := o.Target
	if o.PIDFile != "" {
		pid, err := readPIDFile(o.PIDFile)
		if err != nil {
			return nil, job, err
		}
		what = pid
	}
	target, err := FindTarget(o.Dir, what, job)
	if err != nil {
		if job == "" {
			job = lastJobOf(o.Dir, what)
		}
		return nil, job, err
	}
	soon, cancel := context.WithTimeout(ctx, skipAfter)
	defer cancel()
	one := CheckpointOptions{
		Target:   target,
		Program:  o.Program,
		Policy:   o.Policy,
		Rules:    o.Rules,
		Annotate: o.Annotate,
		Plugins:  o.Plugins,
		Hook:     o.Hook,
		Progress: o.Progress,
	}
	held, err := one.lock(soon)
	if errors.Is(err, ErrBusy) && ctx.Err() == nil {
		return &Snapshot{Skipped: true}, target.Name, nil
	}
	if err != nil {
		return nil, target.Name, err
	}
	defer held.close()
	s := new(Snapshot)
	s.Image, s.Result, err = checkpoint(ctx, one)
	if err != nil {
		_ = os.Remove(target.Dir) // fails when there is something in it
		return nil, target.Name, err
	}
	return s, target.Name, retain(o.Dir, target.Name, o.Retention)
}

// readPIDFile reads the pid in a file.
func readPIDFile(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &goneError{file + ": no such pid file"}
	}
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if pid, err := strconv.Atoi(text); err != nil || pid < 1 {
		return "", fmt.Errorf("%s: %.20q is not a pid", file, text)
	}
	return text, nil
}

// lastJobOf gives the name of the job that a pid or name meant when it last ran.
func lastJobOf(dir, what string) string {
	if CheckName(what) == nil {
		return what
	}
	names, _ := JobNames(dir)
	for _, name := range names {
		if strings.HasSuffix(name, "-"+what) {
			return name
		}
		if j, err := readJob(filepath.Join(dir, name, recordName)); err == nil && strconv.Itoa(j.Root.PID) == what {
			return name
		}
	}
	return what
}

// checkAge looks for a good image of a job that is young enough.
func checkAge(dir, job string, most time.Duration) error {
	stale := &StaleError{Job: job, Max: most}
	if CheckName(job) == nil { // otherwise it is a pid of which nothing is known
		var err error
		if stale.Newest, err = NewestGood(dir, job); err != nil {
			return err
		}
	}
	if stale.Newest == nil {
		return stale
	}
	if stale.Age = time.Since(stale.Newest.Manifest.Created); stale.Age <= most {
		return nil
	}
	return stale
}
