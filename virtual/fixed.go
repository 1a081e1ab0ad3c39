package virtual

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Call is a system call that has one answer for the program, whatever its
// arguments: the kernel does not make it.
type Call struct {
	Name   string `cbor:"1,keyasint" json:"name"`
	Answer Fixed  `cbor:"2,keyasint" json:"answer"`
}

// Ioctl is a request of ioctl(2) that has one answer, on whatever descriptor.
type Ioctl struct {
	Request uint32 `cbor:"1,keyasint" json:"request"`
	Answer  Fixed  `cbor:"2,keyasint" json:"answer"`
}

// Fixed is an error, or else what is returned, and what is written to the
// memory that the third argument of ioctl(2) points to.
type Fixed struct {
	Errno uint32 `cbor:"1,keyasint,omitempty" json:"errno,omitempty"`
	Value int64  `cbor:"2,keyasint,omitempty" json:"value,omitempty"`
	Bytes []byte `cbor:"3,keyasint,omitempty" json:"bytes,omitempty"`
}

// Limits of what a rule may say.
const (
	maxErrno  = 4095      // MAX_ERRNO
	maxBytes  = 1<<14 - 1 // _IOC_SIZEMASK
	maxIoctls = 100       // they stand in one block of the filter
)

// answerable lists the system calls that a rule may be about: those that ask for
// something or set something of the process, which a program can do without. All
// have fewer than six arguments, so that our own are known by task.Mark; none is
// what a C library needs to start a program, or we to let one go.
var answerable = map[string]uint32{
	"acct": unix.SYS_ACCT, "add_key": unix.SYS_ADD_KEY, "adjtimex": unix.SYS_ADJTIMEX, "bpf": unix.SYS_BPF,
	"capget": unix.SYS_CAPGET, "chroot": unix.SYS_CHROOT, "clock_adjtime": unix.SYS_CLOCK_ADJTIME,
	"clock_settime": unix.SYS_CLOCK_SETTIME, "delete_module": unix.SYS_DELETE_MODULE, "fadvise64": unix.SYS_FADVISE64,
	"fanotify_init": unix.SYS_FANOTIFY_INIT, "finit_module": unix.SYS_FINIT_MODULE, "fsopen": unix.SYS_FSOPEN,
	"get_mempolicy": unix.SYS_GET_MEMPOLICY, "getegid": unix.SYS_GETEGID, "geteuid": unix.SYS_GETEUID,
	"getgid": unix.SYS_GETGID, "getpriority": unix.SYS_GETPRIORITY, "getuid": unix.SYS_GETUID, "init_module": unix.SYS_INIT_MODULE,
	"inotify_init1": unix.SYS_INOTIFY_INIT1, "io_setup": unix.SYS_IO_SETUP, "io_uring_setup": unix.SYS_IO_URING_SETUP,
	"ioperm": unix.SYS_IOPERM, "iopl": unix.SYS_IOPL, "ioprio_get": unix.SYS_IOPRIO_GET, "ioprio_set": unix.SYS_IOPRIO_SET,
	"kcmp": unix.SYS_KCMP, "keyctl": unix.SYS_KEYCTL, "landlock_create_ruleset": unix.SYS_LANDLOCK_CREATE_RULESET,
	"memfd_create": unix.SYS_MEMFD_CREATE, "memfd_secret": unix.SYS_MEMFD_SECRET, "mlock": unix.SYS_MLOCK, "mlock2": unix.SYS_MLOCK2,
	"mlockall": unix.SYS_MLOCKALL, "mount": unix.SYS_MOUNT, "open_tree": unix.SYS_OPEN_TREE, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
	"pidfd_getfd": unix.SYS_PIDFD_GETFD, "pivot_root": unix.SYS_PIVOT_ROOT, "pkey_alloc": unix.SYS_PKEY_ALLOC,
	"quotactl": unix.SYS_QUOTACTL, "readahead": unix.SYS_READAHEAD, "reboot": unix.SYS_REBOOT, "request_key": unix.SYS_REQUEST_KEY,
	"sched_setaffinity": unix.SYS_SCHED_SETAFFINITY, "sched_setattr": unix.SYS_SCHED_SETATTR, "sched_setparam": unix.SYS_SCHED_SETPARAM,
	"sched_setscheduler": unix.SYS_SCHED_SETSCHEDULER, "set_mempolicy": unix.SYS_SET_MEMPOLICY, "setdomainname": unix.SYS_SETDOMAINNAME,
	"sethostname": unix.SYS_SETHOSTNAME, "setns": unix.SYS_SETNS, "setpriority": unix.SYS_SETPRIORITY, "settimeofday": unix.SYS_SETTIMEOFDAY,
	"socket": unix.SYS_SOCKET, "swapoff": unix.SYS_SWAPOFF, "swapon": unix.SYS_SWAPON, "syslog": unix.SYS_SYSLOG, "umount2": unix.SYS_UMOUNT2,
	"unshare": unix.SYS_UNSHARE, "userfaultfd": unix.SYS_USERFAULTFD, "vhangup": unix.SYS_VHANGUP,
}

// action is what the filter does. An error it gives by itself, with no answerer.
func (a *Fixed) action() uint32 {
	if a.Errno != 0 {
		return unix.SECCOMP_RET_ERRNO | a.Errno
	}
	return unix.SECCOMP_RET_USER_NOTIF
}

// fixed answers a call that has one answer, and tells whether it has.
func (a *answerer) fixed(t *caller) (answer, bool) {
	nr := uint32(t.nr &^ x32Bit)
	for _, c := range a.rules.Calls {
		if answerable[c.Name] == nr {
			return answer{val: c.Answer.Value}, true
		}
	}
	if nr != unix.SYS_IOCTL {
		return pass, false
	}
	for _, i := range a.rules.Ioctls {
		if i.Request == uint32(t.args[1]) {
			return t.fixedIoctl(&i.Answer), true
		}
	}
	return pass, false
}

// fixedIoctl answers a request. On what is no descriptor the kernel answers.
func (t *caller) fixedIoctl(a *Fixed) answer {
	fd, err := t.descriptor(int(int32(t.args[0])))
	if err != nil {
		return pass
	}
	unix.Close(fd)
	if len(a.Bytes) > 0 {
		if errno := t.write(t.args[2], a.Bytes); errno != 0 {
			return failed(errno)
		}
	}
	return answer{val: a.Value}
}

// check makes sure of what the kernel takes (Linux kernel/seccomp.c).
func (a *Fixed) check() error {
	if a.Errno > maxErrno || a.Value < 0 || len(a.Bytes) > maxBytes || a.Errno != 0 && (a.Value != 0 || a.Bytes != nil) {
		return fmt.Errorf("errno %d, value %d, %d bytes", a.Errno, a.Value, len(a.Bytes))
	}
	return nil
}

func (r *Rules) checkFixed() error {
	for _, c := range r.Calls {
		if err := c.Answer.check(); err != nil || answerable[c.Name] == 0 || c.Answer.Bytes != nil {
			return fmt.Errorf("virtual: call %q: %v", c.Name, err)
		}
	}
	for _, i := range r.Ioctls {
		if err := i.Answer.check(); err != nil {
			return fmt.Errorf("virtual: ioctl %#x: %w", i.Request, err)
		}
	}
	if len(r.Ioctls) > maxIoctls {
		return fmt.Errorf("virtual: %d rules about ioctl, at most %d", len(r.Ioctls), maxIoctls)
	}
	return nil
}

func parseCall(args []string) (string, func(*Rules, Source) error, error) {
	if len(args) != 2 {
		return "", nil, errForm
	}
	c := Call{Name: args[0]}
	if answerable[c.Name] == 0 {
		names := slices.Sorted(maps.Keys(answerable))
		return "", nil, fmt.Errorf("%s is no call that a rule can answer: one of %s", c.Name, strings.Join(names, ", "))
	}
	var err error
	if c.Answer, err = parseAnswer(args[1:]); err != nil {
		return "", nil, err
	}
	if c.Answer.Bytes != nil {
		return "", nil, errForm
	}
	return "call " + c.Name, func(r *Rules, _ Source) error {
		r.Calls = put(r.Calls, c, func(o Call) bool { return o.Name == c.Name })
		return nil
	}, nil
}

func parseIoctl(args []string) (string, func(*Rules, Source) error, error) {
	if len(args) < 2 || len(args) > 3 {
		return "", nil, errForm
	}
	request, err := strconv.ParseUint(args[0], 0, 32)
	if err != nil {
		return "", nil, fmt.Errorf("%q is no request of ioctl, such as 0x5413", args[0])
	}
	i := Ioctl{Request: uint32(request)}
	if i.Answer, err = parseAnswer(args[1:]); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("ioctl %#x", request), func(r *Rules, _ Source) error {
		r.Ioctls = put(r.Ioctls, i, func(o Ioctl) bool { return o.Request == i.Request })
		if len(r.Ioctls) > maxIoctls {
			return fmt.Errorf("more than %d rules about ioctl", maxIoctls)
		}
		return nil
	}, nil
}

// parseAnswer reads errno=NAME, value=N and bytes=HEX.
func parseAnswer(words []string) (a Fixed, err error) {
	seen := map[string]bool{}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		if seen[key] || seen["errno"] || key == "errno" && len(seen) > 0 {
			return a, errForm
		}
		seen[key] = true
		switch key {
		case "errno":
			a.Errno, err = parseErrno(value)
		case "value":
			if a.Value, err = strconv.ParseInt(value, 0, 64); err != nil || a.Value < 0 {
				err = fmt.Errorf("%q is no number from 0 on", value)
			}
		case "bytes":
			if a.Bytes, err = hex.DecodeString(value); err != nil || len(a.Bytes) == 0 || len(a.Bytes) > maxBytes {
				err = fmt.Errorf("%.20q is not 1 to %d bytes in hexadecimal", value, maxBytes)
			}
		default:
			err = errForm
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// parseErrno reads the name of an error.
func parseErrno(name string) (uint32, error) {
	const last = unix.EHWPOISON
	for e := unix.Errno(1); e <= last; e++ {
		if unix.ErrnoName(e) == name {
			return uint32(e), nil
		}
	}
	if name == "" {
		return 0, errors.New("errno= of what, such as EPERM")
	}
	return 0, fmt.Errorf("%q is no error, such as EPERM", name)
}
