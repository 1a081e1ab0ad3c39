package task

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// callNames are the system calls that the project makes inside tasks.
var callNames = map[uintptr]string{
	unix.SYS_ARCH_PRCTL:        "arch_prctl",
	unix.SYS_BRK:               "brk",
	unix.SYS_CAPSET:            "capset",
	unix.SYS_CHDIR:             "chdir",
	unix.SYS_CHMOD:             "chmod",
	unix.SYS_CHOWN:             "chown",
	unix.SYS_CHROOT:            "chroot",
	unix.SYS_CLOCK_GETTIME:     "clock_gettime",
	unix.SYS_CLONE3:            "clone3",
	unix.SYS_CLOSE:             "close",
	unix.SYS_CLOSE_RANGE:       "close_range",
	unix.SYS_DUP3:              "dup3",
	unix.SYS_EPOLL_CREATE1:     "epoll_create1",
	unix.SYS_EPOLL_CTL:         "epoll_ctl",
	unix.SYS_EVENTFD2:          "eventfd2",
	unix.SYS_EXIT:              "exit",
	unix.SYS_EXIT_GROUP:        "exit_group",
	unix.SYS_FCHDIR:            "fchdir",
	unix.SYS_FCNTL:             "fcntl",
	unix.SYS_FLOCK:             "flock",
	unix.SYS_FTRUNCATE:         "ftruncate",
	unix.SYS_GETITIMER:         "getitimer",
	unix.SYS_GETPID:            "getpid",
	unix.SYS_IOCTL:             "ioctl",
	unix.SYS_IO_SUBMIT:         "io_submit",
	unix.SYS_IO_SETUP:          "io_setup",
	unix.SYS_KILL:              "kill",
	unix.SYS_LSEEK:             "lseek",
	unix.SYS_MADVISE:           "madvise",
	unix.SYS_MEMFD_CREATE:      "memfd_create",
	unix.SYS_MINCORE:           "mincore",
	unix.SYS_MKDIR:             "mkdir",
	unix.SYS_MLOCK2:            "mlock2",
	unix.SYS_MMAP:              "mmap",
	unix.SYS_MOUNT:             "mount",
	unix.SYS_MPROTECT:          "mprotect",
	unix.SYS_MREMAP:            "mremap",
	unix.SYS_MUNMAP:            "munmap",
	unix.SYS_OPEN:              "open",
	unix.SYS_OPENAT:            "openat",
	unix.SYS_PIPE2:             "pipe2",
	unix.SYS_PRCTL:             "prctl",
	unix.SYS_READ:              "read",
	unix.SYS_RMDIR:             "rmdir",
	unix.SYS_RSEQ:              "rseq",
	unix.SYS_RT_SIGACTION:      "rt_sigaction",
	unix.SYS_RT_SIGQUEUEINFO:   "rt_sigqueueinfo",
	unix.SYS_RT_TGSIGQUEUEINFO: "rt_tgsigqueueinfo",
	unix.SYS_SETGROUPS:         "setgroups",
	unix.SYS_SETITIMER:         "setitimer",
	unix.SYS_SETPGID:           "setpgid",
	unix.SYS_SETPRIORITY:       "setpriority",
	unix.SYS_SETRESGID:         "setresgid",
	unix.SYS_SETRESUID:         "setresuid",
	unix.SYS_SETSID:            "setsid",
	unix.SYS_SET_ROBUST_LIST:   "set_robust_list",
	unix.SYS_SET_TID_ADDRESS:   "set_tid_address",
	unix.SYS_SIGALTSTACK:       "sigaltstack",
	unix.SYS_SIGNALFD4:         "signalfd4",
	unix.SYS_TGKILL:            "tgkill",
	unix.SYS_TIMERFD_CREATE:    "timerfd_create",
	unix.SYS_TIMERFD_SETTIME:   "timerfd_settime",
	unix.SYS_TIMER_CREATE:      "timer_create",
	unix.SYS_TIMER_DELETE:      "timer_delete",
	unix.SYS_TIMER_GETOVERRUN:  "timer_getoverrun",
	unix.SYS_TIMER_GETTIME:     "timer_gettime",
	unix.SYS_TIMER_SETTIME:     "timer_settime",
	unix.SYS_UMASK:             "umask",
	unix.SYS_UNSHARE:           "unshare",
	unix.SYS_WAIT4:             "wait4",
	unix.SYS_WRITE:             "write",
}

func callName(nr uintptr) string {
	if nr == callRow {
		return "ring probe"
	}
	if name, ok := callNames[nr]; ok {
		return name
	}
	return fmt.Sprintf("system call %d", nr)
}
