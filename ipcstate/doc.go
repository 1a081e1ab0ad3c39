// Package ipcstate holds System V IPC: semaphore arrays with what processes
// have to undo, message queues, and shared memory segments, as far as they
// are not memory (memstate has their content and their mappings).
//
// These objects outlive processes and belong to an ipc namespace, not to a
// tree. An object is taken to belong to a tree if
//
//   - the tree is in an ipc namespace that a restart made for it; else
//   - a process of it has a segment attached, has something to undo in an
//     array, or waits in a call on an array or queue; or
//   - the kernel names one of its processes as the creator or last user; or
//   - a user of the tree created it since the tree began, and no living
//     process is known to have used it.
//
// One that somebody outside uses as well is refused by name: after a restart
// nothing would be shared any more.
//
// All calls are made inside the tree, by its root: only there are ids those of
// its ipc namespace, and pids those of its pid namespace. None changes
// anything; see undo.go for the one that leaves a trace.
//
// A restart makes the objects with their old ids and keys. It does so in our
// own ipc namespace when the tree is also back in our own pid namespace, and
// ids and keys are free there; else in a new one. What a dead tree has left
// there under the same id is removed first. Times (sem_otime and the like)
// cannot be set: zero stays zero, all others are those of the restart.
package ipcstate
