// Package procfs reads the files of /proc that describe processes.
//
// Every file has a parser, a pure function over the bytes that one or more
// read(2) calls returned, and a Read function that feeds it. The parsers are
// strict: a line that is not what the kernel is known to print is a
// [*ParseError] with the file and the line, never a guess, since what is read
// here decides what a snapshot contains. Lines and fields that newer kernels
// append are let through where the format says that they may appear.
//
// The files are read while the user's program is stopped, so the parsers
// neither use reflection nor copy more than they return.
//
// All pids are those of the pid namespace that /proc was mounted in, and all
// paths are seen from the reader's root directory.
package procfs
