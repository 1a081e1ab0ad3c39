package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/restorer"
	"supervise/virtual"
)

// Target is a tree to take a snapshot of.
type Target struct {
	Name  string     // of the job, or made from the command for a tree that is none
	Dir   string     // of the job, in the directory of jobs
	Roots []task.PID // the tree's root, then orphans that its supervisor has adopted

	Policy   string   // file that the job was started with, or ""
	Schedule Schedule // of its supervisor

	NoIoUring bool           // every process of it has the filter of run --no-io-uring
	Virtual   *virtual.Rules // and that of run --virtualize, or nil

	job    *Job                    // that it is, or nil
	parent int                     // of the root, where that is the init of a restart's namespace; else 0
	again  func() (*Target, error) // looks it up anew
}

// Root is the root of the tree.
func (t *Target) Root() task.PID { return t.Roots[0] }

// FindTarget finds the tree that a pid or the name of a job means. dir is the
// directory of jobs. Its images get name, or the name of the job if that is
// empty. The error is task.ErrGone for a pid that does not exist, and ErrNoJob
// for a name.
func FindTarget(dir, what, name string) (*Target, error) {
	t, err := findTarget(dir, what)
	if err != nil {
		return nil, err
	}
	if name != "" && name != t.Name {
		if err := checkFree(dir, name, int(t.Root())); err != nil {
			return nil, err
		}
		t.Name, t.Dir = name, filepath.Join(dir, name)
	}
	t.again = func() (*Target, error) { return FindTarget(dir, what, name) }
	return t, t.checkOutside()
}

// checkFree refuses the name of a job that runs, unless that has this root.
func checkFree(dir, name string, root int) error {
	j, err := FindJob(dir, name)
	if err == nil && j.Root.PID != root {
		return &NameError{name, fmt.Sprintf("is taken by pid %d", max(j.Root.PID, j.Supervisor.PID))}
	}
	return ignoreDead(err)
}

func findTarget(dir, what string) (*Target, error) {
	if strings.Trim(what, "0123456789") != "" || what == "" {
		j, err := FindJob(dir, what)
		if err != nil {
			return nil, err
		}
		return jobTarget(j, filepath.Join(dir, j.Name))
	}
	pid, err := strconv.Atoi(what)
	if err != nil || pid == 0 {
		return nil, fmt.Errorf("%s is not a pid", what)
	}
	st, err := procfs.ReadStat(pid)
	if procfs.Gone(err) {
		return nil, &goneError{fmt.Sprintf("pid %d: no such process", pid)}
	}
	if err != nil {
		return nil, err
	}
	j, err := jobOf(dir, pid, st.PPID)
	if err != nil {
		return nil, err
	}
	if j != nil {
		return jobTarget(j, filepath.Join(dir, j.Name))
	}
	name := nameFor(fmt.Sprintf("%s-%d", st.Comm, pid))
	t := &Target{Name: name, Dir: filepath.Join(dir, name), Roots: []task.PID{task.PID(pid)}}
	if parent, err := procfs.ReadStat(st.PPID); err == nil && parent.Comm == restorer.InitName {
		t.parent = st.PPID
		return t, t.addOrphans(st.PPID, 0)
	}
	return t, nil
}

// goneError is a task.ErrGone that needs no more words.
type goneError struct{ msg string }

func (e *goneError) Error() string        { return e.msg }
func (e *goneError) Is(target error) bool { return target == task.ErrGone }

// jobOf gives the job that pid is the root or the supervisor of, or nil.
func jobOf(dir string, pid, ppid int) (*Job, error) {
	if j := supervised(pid); j != nil {
		return j, nil
	}
	if j := supervised(ppid); j != nil && j.Root.PID == pid {
		return j, nil
	}
	jobs, err := LiveJobs(dir)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if j.Root.PID == pid || j.Parent.PID == pid && j.Parent.alive() || j.Supervisor.PID == pid && j.Supervisor.alive() {
			return j, nil
		}
	}
	return nil, nil
}

// jobTarget gives the tree of a job: its root, and the other children of the
// process that adopts the tree's orphans.
func jobTarget(j *Job, dir string) (*Target, error) {
	if j = awaitRoot(j, dir); !j.Root.alive() {
		return nil, &goneError{fmt.Sprintf("job %s: its root, pid %d, has ended", j.Name, j.Root.PID)}
	}
	t := &Target{Name: j.Name, Dir: dir, Roots: []task.PID{task.PID(j.Root.PID)}, Policy: j.Policy, Schedule: Schedule{j.Interval, j.Keep}, NoIoUring: j.NoIoUring, Virtual: j.Virtual, job: j}
	for _, adopter := range []Process{j.Parent, j.Supervisor} {
		if !adopter.alive() {
			continue
		}
		if err := t.addOrphans(adopter.PID, j.Parent.PID); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// awaitRoot waits until it is known what the root of a job is that is being
// started: a program may ask for a snapshot at once.
func awaitRoot(j *Job, dir string) *Job {
	const patience, pause = 5 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(patience); j.Root.PID == 0 && j.Supervisor.alive() && time.Now().Before(deadline); time.Sleep(pause) {
		if again, err := readJob(filepath.Join(dir, recordName)); err == nil {
			j = again
		}
	}
	return j
}

// addOrphans adds the children of a process that adopts the tree's orphans, but
// for one.
func (t *Target) addOrphans(adopter, except int) error {
	children, err := procfs.Children(adopter)
	if err != nil && !procfs.Gone(err) {
		return err
	}
	for _, pid := range children {
		if task.PID(pid) != t.Root() && pid != except && taskState(pid) != 'Z' && !isHelper(pid, adopter) {
			t.Roots = append(t.Roots, task.PID(pid))
		}
	}
	return nil
}

// ErrInside says that a process cannot take a snapshot of a tree that it is
// itself in.
var ErrInside = errors.New("the tree has this very command in it")

// checkOutside refuses a tree that this process belongs to: it would stop
// itself.
func (t *Target) checkOutside() error {
	for _, root := range t.Roots {
		if int(root) == os.Getpid() || descends(os.Getpid(), int(root)) {
			return fmt.Errorf("snapshot of pid %d: %w", t.Root(), ErrInside)
		}
	}
	return nil
}
