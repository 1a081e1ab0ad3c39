package fdstate

import (
	"supervise/internal/refuse"
	"supervise/policy"
)

// Kind is a row of the table of kinds. A row without Capture is refused, and
// says why.
type Kind struct {
	Tag  Tag
	Name string

	// Match tells whether a description is of this kind. The first row that
	// matches counts.
	Match func(d *Desc) bool

	// Explore, if there is one, looks at a socket before all descriptions are
	// known, and adopts those that are in flight over it.
	Explore func(d *Desc, s *Survey) error

	// Outside, if there is one, tells whether a description leads out of the
	// tree, when all are known.
	Outside func(d *Desc) bool

	// Ends, if there is one, tells the ends of a socket, when all are known.
	Ends func(d *Desc) policy.Ends

	// Capture makes the record. An error that is refuse.ErrUnsupported
	// refuses this one description (see Refuse).
	Capture func(d *Desc, s *Survey) (Record, error)

	// New makes an empty record to decode into.
	New func() Record

	// Shared kinds have parts in several descriptions, so they are opened in
	// the builder even when a single process has them.
	Shared bool

	// Late kinds name processes, so they are opened by Link.
	Late bool

	Only string // when a kind is captured, if not always
	Why  string // of a refused kind
	Hint string
}

// Tags that rules speak of.
const (
	tagOutside    Tag = 1
	tagObject     Tag = 3
	tagRegular    Tag = 4
	tagRedirected Tag = 90
	tagGiven      Tag = 91
)

// Kinds lists every kind of descriptor but sockets.
var Kinds = []Kind{ // tags are in images: never renumber
	// Outside comes first: it stands for pipes and terminals that lead out of the tree.
	{Tag: tagOutside, Name: "outside", Match: (*Desc).leadsOutside, Capture: captureOutside, New: record[Outside], Shared: true},
	{Tag: 2, Name: "path only (O_PATH)", Match: isPathOnly, Capture: capturePathOnly, New: record[PathOnly]},
	{Tag: tagObject, Name: "unlinked file or memfd", Match: isObject, Capture: captureObject, New: record[Object]},
	{Tag: tagRegular, Name: "regular file", Match: isRegular, Capture: captureRegular, New: record[Regular]},
	{Tag: 5, Name: "directory", Match: isDirectory, Capture: captureDirectory, New: record[Directory]},
	{Tag: 6, Name: "device", Match: isDevice, Capture: captureDevice, New: record[Device]},
	{Tag: 7, Name: "pipe or fifo", Match: isPipe, Capture: capturePipe, New: record[Pipe], Shared: true},
	{Tag: 8, Name: "pty", Match: isPty, Capture: capturePty, New: record[Pty], Shared: true},
	{Tag: 9, Name: "eventfd", Match: anon("[eventfd]"), Capture: captureEventfd, New: record[Eventfd]},
	{Tag: 10, Name: "timerfd", Match: anon("[timerfd]"), Capture: captureTimerfd, New: record[Timerfd]},
	{Tag: 11, Name: "signalfd", Match: anon("[signalfd]"), Capture: captureSignalfd, New: record[Signalfd]},
	{Tag: 12, Name: "epoll", Match: anon("[eventpoll]"), Capture: captureEpoll, New: record[Epoll]},
	{Tag: 13, Name: "pidfd", Match: isPidfd, Capture: capturePidfd, New: record[Pidfd], Late: true},
	{Tag: 14, Name: "inotify", Match: anon("inotify"), Capture: captureInotify, New: record[Inotify]},
	{Tag: 104, Name: "fanotify", Match: anon("[fanotify]"), Capture: captureFanotify, New: record[Fanotify],
		Only: "without permission events, and when its events have been read"},
	{Tag: tagMqueue, Name: "posix message queue", Match: isMessageQueue, Capture: captureMqueue, New: record[Mqueue], Shared: true},
	{Tag: 15, Name: "hung-up terminal", Match: isHungUp, Capture: captureHungUp, New: record[HungUp], Shared: true},

	// Made by rules of a policy, in the place of another.
	{Tag: tagRedirected, Name: "redirected by a policy", Match: never, New: record[Redirected]},
	{Tag: tagGiven, Name: "handed over by a plugin", Match: never, New: record[Given], Shared: true},

	// Refused, each with its reason.
	{Tag: 100, Name: "io_uring", Match: anon("[io_uring]"), Why: "requests in flight and the rings' state cannot be read back",
		Hint: "start the program by supervise run --no-io-uring; most then use epoll"},
	{Tag: 101, Name: "userfaultfd", Match: anon("[userfaultfd]"), Why: "its registered ranges and waiting faults cannot be read back"},
	{Tag: 102, Name: "perf event", Match: anon("[perf_event]"), Why: "performance counters belong to this host's hardware"},
	{Tag: 103, Name: "bpf object", Match: isBPF, Why: "bpf objects live in the kernel and cannot be read back"},
	{Tag: 106, Name: "landlock ruleset", Match: anon("[landlock-ruleset]"), Why: "its rules cannot be read back"},
	{Tag: 107, Name: "kvm", Match: isKVM, Why: "virtual machines cannot be read back"},
	{Tag: 108, Name: "seccomp notify", Match: anon("seccomp notify"), Why: "a seccomp listener belongs to a filter of a running process"},
	{Tag: 109, Name: "file system or mount context", Match: isMountContext, Why: "a half-made mount cannot be read back"},
	{Tag: 110, Name: "dma-buf or sync file", Match: isDMA, Why: "device memory cannot be read back"},
	{Tag: 112, Name: "memfd_secret", Match: isSecret, Why: "the kernel hides its memory from everyone but its owner"},
	{Tag: 113, Name: "block device", Match: isBlockDevice, Why: "block devices cannot be captured"},
	{Tag: 114, Name: "namespace", Match: isNamespace, Why: "namespaces held by descriptor cannot be captured yet"},
	{Tag: 115, Name: "terminal outside", Match: isForeignTerminal, Why: "it is a terminal outside the tree, and neither stdin, stdout or stderr nor the controlling terminal",
		Hint: "only stdin, stdout, stderr and the controlling terminal can be reconnected; a policy with 'ignore kind=terminal-outside' goes without it"},
	{Tag: 116, Name: "other anonymous inode", Match: isAnon, Why: "this kind of descriptor is not known"},
}

// ByRule tells that records of this kind are made by rules of a policy, and
// that no descriptor is of it.
func (k *Kind) ByRule() bool { return k.Capture == nil && k.New != nil }

func record[T any, P interface {
	*T
	Record
}]() Record {
	return P(new(T))
}

// kindOf gives the first row that matches, or nil.
func kindOf(kinds []Kind, d *Desc) *Kind {
	for i := range kinds {
		if kinds[i].Match(d) {
			return &kinds[i]
		}
	}
	return nil
}

// Refuse makes an error that refuses one description, with the reason and,
// if there is one, a hint.
func Refuse(why, hint string) error { return &Refusal{Why: why, Hint: hint} }

// RefuseNow refuses a description for what will pass when the program goes on.
func RefuseNow(why string) error {
	return &Refusal{Why: why, Hint: "try again when the program has caught up", Passing: true}
}

// Refusal is a description that cannot be captured. It is
// refuse.ErrUnsupported.
type Refusal struct {
	Why     string
	Hint    string
	Passing bool
}

func (e *Refusal) Error() string { return e.Why + ": " + refuse.ErrUnsupported.Error() }

// Is makes errors.Is(err, refuse.ErrUnsupported) hold.
func (e *Refusal) Is(target error) bool { return target == refuse.ErrUnsupported }
