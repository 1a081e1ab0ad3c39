package supervisor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervise/internal/task"
)

func self(t *testing.T) Process {
	t.Helper()
	p, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRegister(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jobs")
	first, err := register(dir, "", "/bin/counter", Job{Supervisor: self(t)})
	if err != nil {
		t.Fatal(err)
	}
	second, err := register(dir, "", "/bin/counter", Job{Supervisor: self(t)})
	if err != nil {
		t.Fatal(err)
	}
	if first.Name != "counter" || second.Name != "counter-2" {
		t.Errorf("names %q and %q", first.Name, second.Name)
	}
	var taken *NameError
	if _, err := register(dir, "counter", "x", Job{Supervisor: self(t)}); !errors.As(err, &taken) {
		t.Errorf("a name that is taken: %v", err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	first.setRoot(child.Process.Pid)
	found, err := FindJob(dir, "counter")
	if err != nil || found.Root.PID != child.Process.Pid {
		t.Errorf("found %+v, %v", found, err)
	}
	if jobs, err := LiveJobs(dir); err != nil || len(jobs) != 2 {
		t.Errorf("live jobs %v, %v", jobs, err)
	}
	if got := supervised(os.Getpid()); got == nil || got.Supervisor != self(t) {
		t.Errorf("supervised by this process: %+v", got)
	}
	if err := errors.Join(first.remove(), second.remove()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDeadJob: the record of a supervisor that was killed is in nobody's way.
func TestDeadJob(t *testing.T) {
	dir := t.TempDir()
	dead := self(t)
	dead.Start--
	first, err := register(dir, "job", "", Job{Supervisor: dead})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FindJob(dir, "job"); !errors.Is(err, ErrNoJob) {
		t.Errorf("found a dead job: %v", err)
	}
	second, err := register(dir, "job", "", Job{Supervisor: self(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.remove(); err != nil {
		t.Error(err)
	}
	if _, err := FindJob(dir, "job"); err != nil {
		t.Errorf("the first job's end has removed the second's record: %v", err)
	}
	if err := second.remove(); err != nil {
		t.Error(err)
	}
}

// TestPruneDead: a new job removes what is left of dead ones, unless they have
// images.
func TestPruneDead(t *testing.T) {
	dir := t.TempDir()
	dead := self(t)
	dead.Start--
	closed := func(r *registered, err error) { // as this process is not to be taken for their supervisor
		if err != nil {
			t.Fatal(err)
		}
		r.open.Close()
	}
	for _, name := range []string{"bare", "rich"} {
		closed(enter(dir, Job{Name: name, Supervisor: dead}))
	}
	if err := os.Mkdir(filepath.Join(dir, "rich", "0001"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "stray"), 0o700); err != nil {
		t.Fatal(err)
	}
	closed(register(dir, "new", "", Job{Supervisor: self(t)}))
	var left []string
	names, err := filepath.Glob(dir + "/*/*")
	for _, name := range names {
		left = append(left, strings.TrimPrefix(name, dir+"/"))
	}
	if want := []string{"new/job.json", "rich/0001", "rich/job.json"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left %v, want %v (%v)", left, want, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stray")); err != nil {
		t.Errorf("a directory that is no job's: %v", err)
	}
}

// TestLockTree: one snapshot of a tree at a time.
func TestLockTree(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { sleep.Process.Kill(); sleep.Wait() }()
	pid := task.PID(sleep.Process.Pid)
	first, err := lockTree(context.Background(), pid)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	soon, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockTree(soon, pid); !errors.Is(err, ErrBusy) {
		t.Errorf("a second lock: %v", err)
	}
	first.Close()
	if second, err := lockTree(context.Background(), pid); err != nil || second == nil {
		t.Errorf("after the first: %v, %v", second, err)
	}
}

// TestDamagedRecord: what is not a record is nobody's.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "{", "[]", `{"name": 7}`, `{"more": 1}`, `{"name": "../../etc"}`} {
		if err := os.MkdirAll(filepath.Join(dir, "job"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "job", recordName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := register(dir, "job", "", Job{Supervisor: self(t)})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := r.remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestFindTarget(t *testing.T) {
	dir := t.TempDir()
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { sleep.Process.Kill(); sleep.Wait() }()
	pid := sleep.Process.Pid

	got, err := FindTarget(dir, strconv.Itoa(pid), "")
	if err != nil || got.Name != "sleep-"+strconv.Itoa(pid) || len(got.Roots) != 1 || int(got.Root()) != pid {
		t.Errorf("by pid: %+v, %v", got, err)
	}
	r, err := register(dir, "nap", "", Job{})
	if err != nil {
		t.Fatal(err)
	}
	r.setRoot(pid)
	for _, what := range []string{"nap", strconv.Itoa(pid)} {
		got, err := FindTarget(dir, what, "")
		if err != nil || got.Name != "nap" || int(got.Root()) != pid || got.Dir != filepath.Join(dir, "nap") {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	for what, want := range map[string]error{
		"99999999": task.ErrGone, "no-job": ErrNoJob, strconv.Itoa(os.Getpid()): ErrInside, strconv.Itoa(os.Getppid()): ErrInside,
	} {
		if _, err := FindTarget(dir, what, ""); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
}

func TestNewImageDir(t *testing.T) {
	job := filepath.Join(t.TempDir(), "jobs", "job")
	lock, err := lockJob(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, want := range []string{"0001", "0002"} {
		got, err := newImageDir(job)
		if err != nil || filepath.Base(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		if err := os.WriteFile(filepath.Join(got, "pages"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(job, "23456"), 0o700); err != nil { // empty: left by a remover
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(job, "12345", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := newImageDir(job); err != nil || filepath.Base(got) != "12346" {
		t.Errorf("%s, %v", got, err)
	}
	// What a killed writer leaves.
	leftover := filepath.Join(job, "0002", "manifest.json.tmp")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newImageDir(job); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(leftover)); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
}
