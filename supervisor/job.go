package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/virtual"
)

// recordName is the file in a job's directory that tells who runs it.
const recordName = "job.json"

// Job is the record of a job that runs, or has run, in job.json.
type Job struct {
	Name       string   `json:"name"`
	Root       Process  `json:"root"`       // of the tree; zero until it runs
	Parent     Process  `json:"parent"`     // of root, when that is neither of the others': the init of a restarted tree's namespace
	Supervisor Process  `json:"supervisor"` // zero for a tree restarted with --detach
	Boot       string   `json:"boot_id"`    // pids mean nothing after a reboot
	Command    []string `json:"command"`
	Cwd        string   `json:"cwd,omitempty"`
	Image      string   `json:"image,omitempty"`  // what it was restarted from
	Policy     string   `json:"policy,omitempty"` // file that snapshots of it go by

	NoIoUring bool `json:"no_io_uring,omitempty"` // the root had the filter of run --no-io-uring from its begin

	Socket        string `json:"socket,omitempty"`         // that the supervisor listens at
	ProgramSocket string `json:"program_socket,omitempty"` // that programs of the tree know, perhaps of an earlier life
	Generation    int    `json:"generation,omitempty"`     // how often it was restarted since it was started

	Plugins []plugins.Spec `json:"plugins,omitempty"` // that take part in snapshots and restarts

	Virtual *virtual.Rules `json:"virtual,omitempty"` // that its processes are under (run --virtualize)

	Restart []memimg.Phase `json:"restart_phases,omitempty"` // time line of the restart

	Attached bool          `json:"attached,omitempty"`     // the supervisor has not started the tree
	Interval time.Duration `json:"interval_ns,omitempty"`  // of the supervisor's own snapshots
	Keep     int           `json:"keep,omitempty"`         // how many of them, or all
	Failure  *Failure      `json:"last_failure,omitempty"` // of the last of them; nil if it went well
}

// Failure is why a snapshot failed that a supervisor wanted by itself.
type Failure struct {
	Time    time.Time `json:"time"`
	Message string    `json:"message"`
}

// Process is a process that no later one of the same pid is taken for.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start_ticks"` // as in /proc/PID/stat
}

// processOf looks up a process that runs.
func processOf(pid int) (Process, error) {
	st, err := procfs.ReadStat(pid)
	return Process{pid, st.StartTime}, err
}

// alive reports whether the process still runs. A zombie does not.
func (p Process) alive() bool {
	if p.PID == 0 {
		return false
	}
	st, err := procfs.ReadStat(p.PID)
	return err == nil && st.StartTime == p.Start && !st.Dead()
}

// Alive reports whether the job runs, or is about to.
func (j *Job) Alive() bool {
	return j.Boot == bootID() && (j.Root.alive() || j.Root.PID == 0 && j.Supervisor.alive())
}

// bootID names this boot of the machine.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
})

// ErrNoJob says that no job of a name runs.
var ErrNoJob = errors.New("no such job")

// FindJob reads the record of the job name that runs, in the directory of jobs.
func FindJob(dir, name string) (*Job, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	j, err := readJob(filepath.Join(dir, name, recordName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !j.Alive() {
		return nil, fmt.Errorf("%q in %s: %w", name, dir, ErrNoJob)
	}
	return j, err
}

// LiveJobs lists the jobs in dir that run.
func LiveJobs(dir string) ([]*Job, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var jobs []*Job
	for _, e := range entries {
		if j, err := readJob(filepath.Join(dir, e.Name(), recordName)); err == nil && j.Alive() {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// readJob reads a record.
func readJob(file string) (*Job, error) {
	const limit = 1 << 24 // far above any argument list
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > limit || !info.Mode().IsRegular() {
		return nil, &recordError{file, err}
	}
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	j := new(Job)
	if err := d.Decode(j); err != nil {
		return nil, &recordError{file, err}
	}
	if err := CheckName(j.Name); err != nil {
		return nil, &recordError{file, err}
	}
	return j, nil
}

// recordError says that a file is not the record of a job.
type recordError struct {
	file string
	err  error // may be nil
}

func (e *recordError) Error() string {
	s := e.file + ": not the record of a job"
	if e.err != nil {
		s += ": " + e.err.Error()
	}
	return s
}

func (e *recordError) Unwrap() error { return e.err }

// registered is the record of a job that this process keeps.
type registered struct {
	dir string // of the job, in the directory of jobs

	mu sync.Mutex // guards what follows
	Job
	open *os.File // the record; it tells others that this process is the supervisor of what; nil when it is removed
}

// update changes the record. Should that fail, it is as it was: the tree can
// still be found by its pid.
func (r *registered) update(change func(*Job)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return
	}
	change(&r.Job)
	_ = r.write()
}

// setFailure records how the last snapshot of a schedule went.
func (r *registered) setFailure(message string) {
	if message == "" && r.Failure == nil {
		return // as it was
	}
	r.update(func(j *Job) {
		j.Failure = nil
		if message != "" {
			j.Failure = &Failure{time.Now().UTC().Truncate(time.Second), message}
		}
	})
}

// register takes a name in the directory of jobs and writes a first record.
// Without a name it takes one made from fallback that no job has.
func register(dir, name, fallback string, j Job) (*registered, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockJobs(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	pruneDead(dir)
	if j.Name, err = freeName(dir, name, fallback); err != nil {
		return nil, err
	}
	return enter(dir, j)
}

// pruneDead removes what killed supervisors, or a power cut, have left of jobs
// that have no images. The directory of jobs is locked.
func pruneDead(dir string) {
	names, _ := JobNames(dir)
	for _, name := range names {
		jobDir := filepath.Join(dir, name)
		j, err := readJob(filepath.Join(jobDir, recordName))
		if err != nil || j.Alive() || !hasOnlyRecord(jobDir) {
			continue
		}
		_ = os.Remove(filepath.Join(jobDir, recordName))
		_ = os.Remove(jobDir) // fails when there is something in it since
	}
}

func hasOnlyRecord(jobDir string) bool {
	entries, err := os.ReadDir(jobDir)
	return err == nil && len(entries) == 1 && entries[0].Name() == recordName
}

// enter writes the first record of a job of this process. The directory of jobs
// is locked.
func enter(dir string, j Job) (*registered, error) {
	if err := os.WriteFile("/proc/self/comm", []byte(supervisorComm), 0); err != nil {
		return nil, fmt.Errorf("take the name of a supervisor: %w", err)
	}
	j.Boot = bootID()
	r := &registered{Job: j, dir: filepath.Join(dir, j.Name)}
	if err := os.Mkdir(r.dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := r.write(); err != nil {
		_ = os.Remove(r.dir) // fails when it was there before and has images
		return nil, err
	}
	return r, nil
}

// lockJobs makes sure that two jobs do not take the same name.
func lockJobs(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err == nil {
			return lock, nil
		}
		if err != unix.EINTR {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}

// freeName gives name, or one made from fallback, if no live job has it.
func freeName(dir, name, fallback string) (string, error) {
	if name != "" {
		j, err := FindJob(dir, name)
		if err == nil {
			return "", &NameError{name, fmt.Sprintf("is taken by pid %d", max(j.Root.PID, j.Supervisor.PID))}
		}
		return name, ignoreDead(err)
	}
	base := nameFor(fallback)
	for n := 1; ; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		if _, err := FindJob(dir, name); err != nil {
			return name, ignoreDead(err)
		}
	}
}

// ignoreDead drops the error that no job of a name runs. A record that cannot
// be understood is nobody's.
func ignoreDead(err error) error {
	var bad *recordError
	if errors.Is(err, ErrNoJob) || errors.As(err, &bad) {
		return nil
	}
	return err
}

// write puts the record in its place at once, and keeps it open.
func (r *registered) write() error {
	b, err := json.MarshalIndent(&r.Job, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, recordName)
	temp, err := os.OpenFile(file+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return err
	}
	if _, err := temp.Write(append(b, '\n')); err != nil {
		return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	if r.open != nil {
		r.open.Close()
	}
	r.open = temp
	return nil
}

// remove takes the record away, unless another job has taken the name since,
// and the job's directory if it has no images.
func (r *registered) remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return nil
	}
	defer func() {
		r.open.Close()
		r.open = nil
	}()
	lock, err := lockJobs(filepath.Dir(r.dir))
	if err != nil {
		return err
	}
	defer lock.Close()
	return r.removeLocked()
}

func (r *registered) removeLocked() error {
	file := filepath.Join(r.dir, recordName)
	there, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if ours, err := r.open.Stat(); err != nil || !os.SameFile(there, ours) {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	_ = os.Remove(r.dir) // fails when it has images
	return nil
}

// supervisorComm is the name of a supervisor's main thread, whatever its
// program is called: others need not be asked for all their descriptors.
const supervisorComm = "supervise"

// supervised gives the job whose supervisor pid is, or nil. A supervisor keeps
// its record open, wherever the directory of jobs may be. Another user's
// process may hold what it likes, so what it says of itself must be so.
func supervised(pid int) *Job {
	if st, err := procfs.ReadStat(pid); err != nil || st.Comm != supervisorComm {
		return nil
	}
	fds, err := procfs.FDs(pid)
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		link, err := procfs.FDLink(pid, fd)
		if err != nil || !strings.Contains(link, "/"+recordName) {
			continue
		}
		j, err := readJob(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
		if err == nil && j.Supervisor.PID == pid && j.Supervisor.alive() && (j.Root.PID == 0 || descends(j.Root.PID, pid)) {
			return j
		}
	}
	return nil
}
