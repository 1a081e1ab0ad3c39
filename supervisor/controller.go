package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/internal/procfs"
	"supervise/plugins"
	"supervise/plugins/client"
)

// controller answers for a job on its control socket. It is a control.Host.
type controller struct {
	job     *registered
	program string // our own version
	server  *control.Server
	replace *replacement
	again   Handover
	made    atomic.Pointer[string] // a directory made for the socket of an earlier life
	apart   string                 // the socket directory, if it listens there
}

// startControl begins to listen for clients of a job. Its record says where.
func startControl(job *registered, program string, o control.Options) (*controller, error) {
	c := &controller{job: job, program: program, replace: newReplacement()}
	c.server = control.New(c, o)
	path, err := c.listen(job.dir)
	if err != nil {
		return nil, err
	}
	job.update(func(j *Job) { j.Socket = path })
	return c, nil
}

// listen listens in a job's directory or, where that has too long a name, or
// lies where there can be no sockets, in the socket directory.
func (c *controller) listen(jobDir string) (path string, err error) {
	path = filepath.Join(jobDir, "control")
	if err := c.server.Listen(path); err == nil {
		return path, nil
	}
	return c.listenApart(jobDir)
}

// takeOver listens at the path that programs of the tree know, too, as soon as
// no other copy of the job does. A path that cannot be had is left alone.
func (c *controller) takeOver(path string) {
	if path == "" || path == c.job.Socket {
		return
	}
	go func() {
		dir := filepath.Dir(path)
		for {
			err := c.server.Listen(path)
			if errors.Is(err, fs.ErrNotExist) {
				if err = os.Mkdir(dir, dirPerm); err == nil {
					c.made.Store(&dir)
					continue
				}
			}
			if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, fs.ErrExist) {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}()
}

// end tells clients that the tree has ended, and stops listening.
func (c *controller) end() {
	if c == nil {
		return
	}
	c.server.Tell(client.Event{Name: client.Gone, Snapshot: &client.Facts{Job: c.job.Name, RootPID: c.job.Root.PID,
		Generation: c.job.Generation}})
	c.server.Close()
	if dir := c.made.Load(); dir != nil {
		_ = os.Remove(*dir) // fails when somebody has put something there
	}
	c.leaveSocketDir()
}

// goneHooks tells the plugins of a job that its tree has ended.
func goneHooks(job *registered) {
	list, err := plugins.Load(job.Plugins)
	if err != nil {
		return
	}
	r := plugins.NewRunner(list, nil)
	defer r.Close()
	_ = r.Event(client.Event{Name: client.Gone, Snapshot: &client.Facts{Job: job.Name, RootPID: job.Root.PID, Generation: job.Generation}})
}

// Hello tells who is here.
func (c *controller) Hello() client.Hello {
	if c.job == nil {
		return client.Hello{Program: c.program}
	}
	return client.Hello{Program: c.program, Job: c.job.Name}
}

// jobsDir is the directory of jobs that the job is in.
func (c *controller) jobsDir() string { return filepath.Dir(c.job.dir) }

// Status tells how the job is.
func (c *controller) Status() (client.Status, error) {
	st, err := Status(c.jobsDir(), c.job.Name)
	if err != nil {
		return client.Status{}, err
	}
	s := client.Status{
		Job: st.Name, Dir: st.Dir, Socket: st.Socket, RootPID: st.Root.PID, SupervisorPID: st.Supervisor.PID,
		Attached: st.Attached, Processes: st.Processes, State: st.State, Command: st.Command,
		RestartedFrom: st.Image, IntervalMS: st.Interval.Milliseconds(),
	}
	images, err := JobImages(c.jobsDir(), c.job.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	for _, i := range images {
		if i.State == Good {
			s.Snapshots++
			s.Newest = i.Name()
		}
	}
	return s, nil
}

// List lists the job's snapshots.
func (c *controller) List() ([]client.Snapshot, error) {
	images, err := JobImages(c.jobsDir(), c.job.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []client.Snapshot
	for _, i := range images {
		s := client.Snapshot{Snapshot: i.Name(), Number: i.Number, Image: i.Dir, State: string(i.State)}
		if m := &i.Manifest; m.Format != 0 {
			s.Created, s.PageBytes = &m.Created, m.Summary.PageBytes
			if m.Control != nil {
				s.Generation, s.Annotations = m.Control.Generation, m.Control.Annotations
			}
		}
		list = append(list, s)
	}
	return list, err
}

// Checkpoint takes a snapshot, as somebody does who calls supervise for it.
func (c *controller) Checkpoint(annotations map[string]string) (client.Outcome, error) {
	args := []string{"checkpoint", c.job.Name, "--json", "--dir", c.jobsDir()}
	for key, value := range annotations {
		args = append(args, "--annotate", key+"="+value)
	}
	facts, problem, err := new(errand).run(args...)
	if err != nil {
		return client.Outcome{}, err
	}
	var taken struct {
		Image string
		Job   string
		Pause time.Duration `json:"pause_ns"`
		Error *client.Error
	}
	if err := json.Unmarshal(facts, &taken); err != nil {
		return client.Outcome{}, &client.Error{Code: client.Failed, Message: cmp.Or(strings.TrimSpace(problem), "the process that took the snapshot was killed")}
	}
	if taken.Error != nil {
		return client.Outcome{}, taken.Error
	}
	number := imageNumber(filepath.Base(taken.Image))
	return client.Outcome{Image: taken.Image, Snapshot: ImageName(taken.Job, number),
		PauseMS: float64(taken.Pause.Microseconds()) / 1000}, nil
}

// image finds the snapshot that a client names: a number or NAME@NNNN.
func (c *controller) image(which string) (*StoredImage, error) {
	if job, number, ok := strings.Cut(which, "@"); ok {
		if job != c.job.Name {
			return nil, &client.Error{Code: client.NoImage, Message: fmt.Sprintf("%.80s is not a snapshot of job %s", which, c.job.Name)}
		}
		which = number
	}
	n, err := strconv.Atoi(which)
	if err != nil {
		return nil, &client.Error{Code: client.Malformed, Message: fmt.Sprintf("%.80q is not the number of a snapshot", which)}
	}
	images, err := JobImages(c.jobsDir(), c.job.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	at := slices.IndexFunc(images, func(i *StoredImage) bool { return i.Number == n })
	if at < 0 {
		return nil, &client.Error{Code: client.NoImage, Message: fmt.Sprintf("job %s has no snapshot %d", c.job.Name, n)}
	}
	return images[at], nil
}

// Remove removes a snapshot.
func (c *controller) Remove(which string) (string, error) {
	i, err := c.image(which)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return i.Name(), RemoveImages(ctx, c.jobsDir(), c.job.Name, []int{i.Number})
}

// Inside tells whether a process belongs to the tree. What takes snapshots for
// this supervisor descends from it, but does not.
func (c *controller) Inside(pid int) bool {
	root, attached := c.job.rootOf()
	self := os.Getpid()
	for pid > 1 {
		if pid == root.PID {
			return root.alive()
		}
		st, err := procfs.ReadStat(pid)
		if err != nil {
			return false
		}
		if st.PPID == self {
			return !attached && c.adopted(pid, self)
		}
		pid = st.PPID
	}
	return false
}

// adopted tells whether a child of this process is one of the tree, or the init
// of its namespace.
func (c *controller) adopted(pid, self int) bool {
	c.job.mu.Lock()
	parent := c.job.Parent.PID
	c.job.mu.Unlock()
	return pid == parent || !isHelper(pid, self)
}

// rootOf tells the root, and whether somebody else has started it.
func (r *registered) rootOf() (root Process, attached bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Root, r.Attached
}

// Elsewhere gives the socket of the supervisor whose tree a process belongs to,
// if its programs know it by a path at which this one listens.
func (c *controller) Elsewhere(pid int, path string) string {
	jobs, err := LiveJobs(c.jobsDir())
	if err != nil {
		return ""
	}
	for pid > 1 {
		st, err := procfs.ReadStat(pid)
		if err != nil {
			return ""
		}
		for _, j := range jobs {
			if j.Name != c.job.Name && (j.Root.PID == pid || j.Supervisor.PID == st.PPID) && j.Supervisor.alive() && j.ProgramSocket == path {
				return j.Socket
			}
		}
		pid = st.PPID
	}
	return ""
}
