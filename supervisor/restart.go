package supervisor

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/internal/procfs"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/policy"
	"supervise/restorer"
	"supervise/virtual"
)

// RestartOptions say what to bring back.
type RestartOptions struct {
	Image    string
	Force    bool // though programs or libraries were replaced
	Detach   bool
	Dir      string         // of jobs
	FixedDir bool           // record the job in Dir even if the image lies in another directory of jobs
	Policy   *policy.Policy // for this restart
	IDs      restorer.IDs
	Net      restorer.Net
	Virtual  *virtual.Wishes // that come before the snapshot's own rules, or nil

	Program    string // our own version
	PolicyFile string // that snapshots of the job go by, or ""
	Schedule   Schedule
	Answer     Answer
	Plugins    []plugins.Spec // besides those in the image
	EnvFile    string         // rules about the environment, or ""
	Log        string         // file that what is restored is noted in, or ""
	Again      Handover       // to a restart in the place of this one
	Hook       plugins.Hook
	Progress   func(done, total int64)
}

// Restarted is a job that was brought back and runs.
type Restarted struct {
	Root     int // host pid of the tree's root
	Manifest memimg.Manifest
	Name     string         // of the job; empty if it has no record
	NoRecord error          // why, or nil
	Phases   []memimg.Phase // time line
	Problems []string       // of plugins, when nothing could be refused any more

	tree *restorer.Tree
	job  *registered
	ctl  *controller
	part *participation
	plan Schedule

	early *relay // of signals that have come since before the tree ran
}

// Scheduled reports whether snapshots of it were to be taken by themselves.
func (r *Restarted) Scheduled() bool { return r.plan.Interval > 0 }

// Restart brings a job back from an image. The tree runs when it returns.
func Restart(o RestartOptions) (*Restarted, error) {
	manifest, err := memimg.ReadManifest(o.Image)
	if err != nil {
		return nil, err
	}
	part, err := participate(&o, &manifest)
	if err != nil {
		return nil, err
	}
	if err := becomeSubreaper(); err != nil {
		return nil, err
	}
	// A signal that comes once the tree runs is its own, and must not end us.
	var early *relay
	hook := func(p plugins.Phase) (err error) {
		if p == plugins.Release && !o.Detach && early == nil {
			if early, err = startRelay(); err != nil {
				return err
			}
		}
		if p == plugins.Release {
			if err := part.event(client.Restored, ""); err != nil {
				return err
			}
		}
		if o.Hook == nil {
			return nil
		}
		return o.Hook(p)
	}
	tree, err := restorer.Restart(restorer.Options{
		Image:    o.Image,
		Force:    o.Force,
		Detach:   o.Detach,
		Policy:   o.Policy,
		IDs:      o.IDs,
		Net:      o.Net,
		Virtual:  o.Virtual,
		Hook:     hook,
		Before:   part.before,
		Found:    part.found,
		Most:     part.most,
		Progress: o.Progress,
	})
	if err != nil {
		part.runner.Close()
		return nil, err
	}
	r := &Restarted{part: part, Root: int(tree.Root), Manifest: manifest, Phases: tree.Phases,
		tree: tree, plan: o.Schedule, early: early}
	part.facts.RootPID, part.facts.Generation = r.Root, r.generation()
	r.NoRecord = r.record(o)
	if err := r.startControl(o); err != nil && r.NoRecord == nil {
		r.NoRecord = err
	}
	_ = part.event(client.Restarted, "") // it runs: nothing can be refused any more
	part.runner.Close()
	r.Problems = part.runner.Problems
	return r, nil
}

// startControl begins to listen to clients, and goes on with those that came
// back with the tree. One that is detached has no supervisor: what was asked is
// answered once, and that is the end.
func (r *Restarted) startControl(o RestartOptions) error {
	options := control.Options{}
	outcome := client.Outcome{RootPID: r.Root, Generation: r.generation()}
	if c := r.Manifest.Control; c != nil {
		options.Annotations = maps.Clone(c.Annotations)
		delete(options.Annotations, "name")
	}
	options.Generation = outcome.Generation
	outcome.Image, _ = filepath.Abs(o.Image)
	outcome.Snapshot = snapshotName(outcome.Image)
	var ends []control.End
	for _, end := range r.tree.Control {
		ends = append(ends, control.End(end))
	}
	if o.Detach || r.job == nil {
		return control.New(&controller{job: r.job, program: o.Program}, options).Farewell(ends, outcome)
	}
	ctl, err := startControl(r.job, o.Program, options)
	if err != nil {
		return errors.Join(err, control.New(&controller{job: r.job}, options).Farewell(ends, outcome))
	}
	r.ctl = ctl
	ctl.again = o.Again
	ctl.takeOver(r.job.ProgramSocket)
	return errors.Join(ctl.server.Resume(ends, outcome), o.Answer.restored(ctl.server, outcome))
}

// generation counts the restarts since the tree was started.
func (r *Restarted) generation() int {
	if c := r.Manifest.Control; c != nil {
		return c.Generation + 1
	}
	return 1
}

// snapshotName names the image in a directory as in NAME@NNNN, if it is one of
// those.
func snapshotName(dir string) string {
	n := imageNumber(filepath.Base(dir))
	job := filepath.Base(filepath.Dir(dir))
	if n == 0 || CheckName(job) != nil {
		return ""
	}
	return ImageName(job, n)
}

// record writes the record of the job, so that it is found by name again.
func (r *Restarted) record(o RestartOptions) error {
	image, err := filepath.Abs(o.Image)
	if err != nil {
		return err
	}
	j := Job{Command: r.Manifest.Summary.Command, Image: image, Policy: o.PolicyFile, Restart: r.Phases, NoIoUring: r.tree.NoIoUring, Virtual: r.tree.Record.Virtual,
		Interval: o.Schedule.Interval, Keep: o.Schedule.Keep, Generation: r.generation(), Plugins: r.part.specs}
	if c := r.Manifest.Control; c != nil {
		j.ProgramSocket = c.Socket
	}
	if j.Root, err = processOf(r.Root); err != nil {
		return nil // it has ended already
	}
	if !o.Detach {
		if j.Supervisor, err = processOf(os.Getpid()); err != nil {
			return err
		}
	}
	if st, err := procfs.ReadStat(r.Root); err == nil && st.PPID != os.Getpid() && st.PPID > 1 {
		j.Parent, _ = processOf(st.PPID)
	}
	j.Cwd, _ = procfs.Cwd(r.Root)
	name := r.Manifest.Summary.Job
	if dir := dirOf(image, name, o.Dir); dir != o.Dir && !o.FixedDir {
		// An archive of images may be read-only.
		if r.job, err = register(dir, "", name, j); err == nil {
			r.Name = r.job.Name
			return nil
		}
	}
	if r.job, err = register(o.Dir, "", name, j); err == nil {
		r.Name = r.job.Name
	}
	return err
}

// Wait stands for the tree until its root ends, and gives its wait status.
func (r *Restarted) Wait() (syscall.WaitStatus, error) {
	if r.job != nil {
		defer r.job.remove()
	}
	defer r.ctl.end()
	if s, err := newStandIn(r.Root, r.early); err == nil {
		_ = releaseInherited(r.plan.Interval > 0)
		go s.watchStops(r.tree.Stopped)
	}
	startSchedule(r.job, r.plan)
	go r.reapOrphans()
	ws, err := r.tree.Wait()
	r.ctl.standAside()
	_ = r.part.event(client.Gone, "")
	r.part.runner.Close()
	return ws, err
}

// reapOrphans reaps the children that are neither the root nor the process
// that reports on it; those are Tree.Wait's.
func (r *Restarted) reapOrphans() {
	keep := map[int]bool{r.Root: true}
	if r.job != nil {
		keep[r.job.Parent.PID] = true
	}
	for range time.Tick(time.Second) {
		children, err := procfs.Children(os.Getpid())
		if err != nil {
			continue
		}
		for _, pid := range children {
			if !keep[pid] && taskState(pid) == 'Z' {
				_, _ = syscall.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
			}
		}
	}
}

// watchStops mirrors the stops of a root that need not be a child of this
// process, so that wait(2) would not tell. A program that comes back stopped is
// nobody's news.
func (s *standIn) watchStops(stopped bool) {
	for range time.Tick(100 * time.Millisecond) {
		now := taskState(s.root) == 'T'
		if now && !stopped {
			_ = s.mirrorStop(unix.SIGTSTP)
		}
		stopped = now
	}
}

// dirOf gives the directory of jobs that the image of a job lies in, or fallback
// if it is not in such a place.
func dirOf(image, job, fallback string) string {
	parent, number := filepath.Split(image)
	parent = filepath.Clean(parent)
	if _, err := strconv.Atoi(number); err != nil || !strings.HasPrefix(filepath.Base(parent), job) {
		return fallback
	}
	return filepath.Dir(parent)
}
