// Package task is the heart of the project: the held task. A held task is a
// thread in ptrace-stop that is lent to the caller to run batches of system
// calls, to have its memory and registers read and written, and that goes on
// afterwards as if nothing had happened.
//
// The capture side gets held tasks by freezing a live tree (Tracer.Freeze),
// the restore side by starting a bare process (Tracer.Start) and letting it
// clone others. Nothing outside this package says ptrace.
//
// # The parasite and the way home
//
// System calls run inside the tracee by a loop of about 130 bytes, the
// parasite (parasite_amd64.s), which walks a table of rows. It lives in a
// mapping of its own, made by a first run of the same code from the unused
// end of the vDSO's last page, or of a mapped file's code (Process.rooms).
//
// When a tracer dies, the kernel detaches its tracees and they run on from
// the registers they have at that moment. So every run carries its way home:
// a frame with the program's registers and signal mask, into which the
// parasite returns when no tracer stops it. The order of steps in
// Thread.Run keeps this true at every instant; each is one system call of
// ours, and after each the tracee's death-of-tracer path leads back to the
// program:
//
//  1. the frame and the table are written to the tracee;
//  2. the registers are set to the parasite (tracer dies: the rows run, then home);
//  3. all signals are blocked (tracer dies: home puts the mask back);
//  4. the tracee runs; its last row sends itself a signal that this program
//     ignores, for which a tracer is stopped (tracer dies: it vanishes, home);
//  5. the signal mask is put back (tracer dies: home, mask already right);
//  6. the registers are put back (tracer dies: nothing left to do).
//
// One moment cannot be covered: to stop a thread is to wake it. If we die after
// PTRACE_INTERRUPT has woken a thread and before it has reported its stop, a
// call that the kernel never restarts (neverRestarted) ends with EINTR, as
// after SIGSTOP and SIGCONT. freezer.catch keeps the moment short.
//
// Seccomp is suspended while a thread is held, and in force again when we die: no
// call is made that its filters would punish (Thread.checkFilters).
//
// All calls on held tasks must come from the OS thread that holds them;
// OnThread provides one.
package task
