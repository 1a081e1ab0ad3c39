package supervisor

import (
	"errors"
	"fmt"
	"os"

	"supervise/internal/procfs"
	"supervise/plugins/client"
)

// ErrNoSocket says that there is no supervisor to ask.
var ErrNoSocket = errors.New("no supervisor to ask")

// FindSocket finds the control socket of a job by name or pid, or, without one, of the
// tree that this process is in. dir is the directory of jobs.
func FindSocket(dir, what string) (string, error) {
	if what != "" {
		t, err := findTarget(dir, what)
		if err != nil {
			return "", err
		}
		if t.job == nil || t.job.Socket == "" || !t.job.Supervisor.alive() {
			return "", fmt.Errorf("%s has no supervisor: %w", what, ErrNoSocket)
		}
		return t.job.Socket, nil
	}
	if path := os.Getenv(client.SocketVariable); path != "" {
		return path, nil
	}
	jobs, err := LiveJobs(dir)
	if err != nil {
		return "", err
	}
	for pid := os.Getpid(); pid > 1; {
		for _, j := range jobs {
			if j.Root.PID == pid && j.Supervisor.alive() && j.Socket != "" {
				return j.Socket, nil
			}
		}
		st, err := procfs.ReadStat(pid)
		if err != nil {
			return "", err
		}
		pid = st.PPID
	}
	return "", fmt.Errorf("$%s is not set, and this process is in no tree that has a supervisor: %w", client.SocketVariable, ErrNoSocket)
}
