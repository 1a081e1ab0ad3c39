package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// JobStatus tells how a job is.
type JobStatus struct {
	*Job
	Dir       string // of the job
	State     string // "starting", "running", "stopped"
	Processes int    // in its tree
	Newest    *StoredImage
}

// Supervised reports whether the job has a supervisor that lives.
func (s *JobStatus) Supervised() bool { return s.Supervisor.alive() }

// Status tells how a job is that runs.
func Status(dir, name string) (*JobStatus, error) {
	j, err := FindJob(dir, name)
	if err != nil {
		return nil, err
	}
	s := &JobStatus{Job: j, Dir: filepath.Join(dir, name), State: "starting"}
	if j.Root.PID != 0 {
		target, err := jobTarget(j, s.Dir)
		if err != nil {
			return nil, err
		}
		s.State = "running"
		if taskState(j.Root.PID) == 'T' {
			s.State = "stopped"
		}
		s.Processes = countProcesses(target.Roots)
	}
	s.Newest, err = NewestGood(dir, name)
	return s, err
}

// Statuses tells how all jobs are that run. A job that ends meanwhile is none.
func Statuses(dir string) ([]*JobStatus, error) {
	jobs, err := LiveJobs(dir)
	if err != nil {
		return nil, err
	}
	var all []*JobStatus
	for _, j := range jobs {
		s, err := Status(dir, j.Name)
		if errors.Is(err, ErrNoJob) || errors.Is(err, task.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// countProcesses counts the processes of a tree, zombies included.
func countProcesses(roots []task.PID) int {
	n := 0
	for todo := slices.Clone(roots); len(todo) > 0; n++ {
		pid := int(todo[0])
		todo = todo[1:]
		children, err := procfs.Children(pid)
		if err != nil {
			continue // gone
		}
		for _, c := range children {
			todo = append(todo, task.PID(c))
		}
	}
	return n
}

// NewestGood gives the newest good image of a job, or nil if it has none. Older
// ones are not looked at.
func NewestGood(dir, job string) (*StoredImage, error) {
	jobDir := filepath.Join(dir, job)
	entries, err := os.ReadDir(jobDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n := imageNumber(e.Name()); n > 0 && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range slices.Backward(numbers) {
		if i := lookAt(job, n, filepath.Join(jobDir, numberName(n))); i != nil && i.State == Good {
			return i, nil
		}
	}
	return nil, nil
}
