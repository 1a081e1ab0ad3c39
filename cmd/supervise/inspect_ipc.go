package main

import (
	"fmt"
	"io"

	"supervise/ipcstate"
)

// printIPC prints what a snapshot holds of System V objects.
func printIPC(w io.Writer, s *ipcstate.State) {
	fmt.Fprintln(w)
	for i := range s.Segments {
		fmt.Fprintf(w, "shared memory segment %s, %s, object %d\n", describePerm(&s.Segments[i].Perm), byteCount(int64(s.Segments[i].Size)), s.Segments[i].Object)
	}
	for i := range s.Arrays {
		fmt.Fprintf(w, "semaphore array %s, %d semaphores\n", describePerm(&s.Arrays[i].Perm), len(s.Arrays[i].Semaphores))
	}
	for i := range s.Undos {
		u := &s.Undos[i]
		fmt.Fprintf(w, "process %d has to undo %d changes of semaphore array %d\n", u.Process, len(u.Adjustments), u.Array)
	}
	for i := range s.Queues {
		fmt.Fprintf(w, "message queue %s, %d messages\n", describePerm(&s.Queues[i].Perm), len(s.Queues[i].Messages))
	}
}

func describePerm(p *ipcstate.Perm) string {
	return fmt.Sprintf("%d, key %#x, mode %04o, uid %d, gid %d", p.ID, uint32(p.Key), p.Mode, p.UID, p.GID)
}
