package taskstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// IDs gives a record with nothing but the ids of a held process, as its own pid
// namespace shows them. Parent and TPGID need knowledge of the whole tree: the
// tracer sets them.
func IDs(held *task.Process, facts Facts) Process {
	return Process{
		ID:         held.ID,
		Group:      held.Aliases.Own(innermost(facts.Status.NSpgid)),
		Session:    held.Aliases.Own(innermost(facts.Status.NSsid)),
		TTY:        facts.Stat.TTYNr,
		ExitSignal: facts.Stat.ExitSignal,
		Stopped:    int(held.Stopped),
	}
}

func captureCommand(c *capture) error {
	command, err := procfs.Cmdline(int(c.held.PID))
	c.rec.Command = command
	return err
}

func innermost(ids []int) task.ID {
	if len(ids) == 0 {
		return 0
	}
	return task.ID(ids[len(ids)-1])
}

// CaptureZombie records a dead process that its parent has not waited for.
func CaptureZombie(pid task.PID, aliases *task.Aliases) (Zombie, error) {
	f, err := ReadFacts(pid)
	if err != nil {
		return Zombie{}, err
	}
	return Zombie{
		ID:         aliases.Own(innermost(f.Status.NSpid)),
		Group:      aliases.Own(innermost(f.Status.NSpgid)),
		Session:    aliases.Own(innermost(f.Status.NSsid)),
		Status:     f.Stat.ExitCode,
		Comm:       f.Stat.Comm,
		ExitSignal: f.Stat.ExitSignal,
	}, nil
}

// Die ends a held bare process so that its parent finds the recorded status.
func (z *Zombie) Die(held *task.Process) error {
	var err error
	if sig := unix.Signal(z.Status & 0x7f); sig != 0 {
		err = held.Die(sig)
	} else {
		err = held.Exit(z.Status >> 8 & 0xff)
	}
	if err != nil {
		return fmt.Errorf("make zombie %d: %w", z.ID, err)
	}
	return nil
}
