// Package fdstate captures and restores what file descriptors can point at,
// sockets aside (netstate has those).
//
// Linux has three layers here: a process's table of descriptors, the open
// file descriptions that they refer to (with status flags, position, owner
// and locks; shared by dup, fork and descriptor passing), and the objects
// behind (a file, a pipe, a terminal). The image has the same layers: a
// [Table] for each process, one [File] for each description, and in it the
// record of its kind. Everything that belongs to tables and descriptions is
// handled here once; a kind is one row of a table ([Kinds]) and one file of
// code, with the record, its capture and its restore side by side.
//
// # Capture
//
// All processes are held. Nothing is consumed or changed: descriptors are
// looked at through /proc and through our own copies of them
// (pidfd_getfd(2)), which share the description and are closed again. Calls
// inside the tree are made only where the answer depends on who asks: ids as
// its pid namespace shows them, and clocks of its time namespace.
//
// # Restore
//
//  1. OpenShared, in the builder, before any fork: what several processes
//     share, and what has parts in several, is opened at reserved numbers,
//     which no process of the tree uses. All processes inherit them.
//  2. OpenOwn, in each process: its private descriptions are opened and
//     everything is put at its numbers.
//  3. Link, when all processes have their tables: what refers to descriptors
//     or to processes (epoll interests, pidfds).
//  4. CloseRest, in each process and in the builder, when nothing else needs
//     the reserved numbers: they are closed, and POSIX locks are taken, which
//     any earlier close of the file would have dropped again.
//  5. Arm, last: what tells the program of others' doing (watches of files,
//     leases, signal owners), when we do nothing any more that it would be told.
package fdstate
