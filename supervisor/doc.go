// Package supervisor is a job's life: a program is started under it (Run) or
// brought back (Restart), recorded under a name in a directory, found again by
// name or pid, and has snapshots taken (Checkpoint) into numbered images.
//
// # Standing for a program
//
// A shell knows only the supervisor, a terminal only the process group of
// both. Between them the supervisor is to be as if it were not there:
//
//   - It is a child subreaper, so that daemonized descendants stay its own.
//   - The program is started with everything this process inherited
//     (inherit.go), in the same process group and session.
//   - A signal sent to the supervisor is passed on to the program, unless the
//     program has it already, as from the keyboard (relay.go, forward.go).
//   - When the program stops, the supervisor stops by the same signal; when it
//     ends, the supervisor ends as it did (stop.go, end.go).
//   - Descriptors that were inherited are let go, so that the other end of a
//     pipe sees the program's end of file (release.go).
//
// The program never waits for the supervisor, and none of its system calls are
// intercepted. A supervisor that is killed leaves it running.
package supervisor
