package taskstate

import (
	"fmt"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// addExitedLeader records the first thread of a process where it has exited
// while others run: a zombie whose id is the process's, and the status that it
// gave.
func (rec *Process) addExitedLeader(held *task.Process) error {
	if held.PID == held.TGID {
		return nil
	}
	st, err := procfs.ReadStat(int(held.TGID))
	if err != nil {
		return gone(held.TGID, err)
	}
	rec.ExitSignal = st.ExitSignal // other threads have none
	rec.Threads = append(rec.Threads, Thread{
		ID: rec.ID, Name: st.Comm, Exited: true, ExitStatus: st.ExitCode,
		Registers: Registers{}, XState: []byte{},
	})
	return nil
}

// EndLeader ends the leader of a bare process that has all its threads, if it
// had exited.
func (rec *Process) EndLeader(held *task.Process, base *Base) error {
	leader := &rec.Threads[0]
	if !leader.Exited {
		return nil
	}
	r := &threadRestore{held: held.Leader(), proc: rec, rec: leader, base: base, batch: &task.Batch{}}
	for _, restore := range []func(*threadRestore) error{restoreName, restoreCreds} { // as others see it
		if err := restore(r); err != nil {
			return err
		}
	}
	if err := r.held.Run(r.batch); err != nil {
		return fmt.Errorf("first thread: %w", err)
	}
	return held.EndLeader(leader.ExitStatus >> 8)
}
