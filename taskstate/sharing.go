package taskstate

import (
	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Sharing says what a process shares with an earlier one of the tree, as
// clone(2) with CLONE_VM, CLONE_FILES, CLONE_FS or CLONE_SIGHAND makes it: the
// id of the first that has it, or 0 for a process that has its own.
type Sharing struct {
	Memory   task.ID `cbor:"1,keyasint,omitempty" json:"memory,omitempty"`
	Files    task.ID `cbor:"2,keyasint,omitempty" json:"descriptors,omitempty"`
	FS       task.ID `cbor:"3,keyasint,omitempty" json:"directories,omitempty"`
	Handlers task.ID `cbor:"4,keyasint,omitempty" json:"signal_handlers,omitempty"`
}

// Leavable are the flags of what unshare(2) lets a thread leave (man 2 clone,
// CLONE_THREAD).
const Leavable = unix.CLONE_FILES | unix.CLONE_FS

// OwnFiles tells whether the thread is the first with its descriptor table,
// which is not that of its process.
func (th *Thread) OwnFiles() bool { return th.Left.Files == th.ID }

// Share is one thing that processes share.
type Share struct {
	Part task.Part
	Flag uint64 // of clone(2)
	What string // as a refusal calls it
	Of   func(*Sharing) *task.ID
}

// Shareable are the things that processes share.
var Shareable = []Share{
	{task.PartMemory, unix.CLONE_VM, "memory (CLONE_VM)", func(s *Sharing) *task.ID { return &s.Memory }},
	{task.PartFiles, unix.CLONE_FILES, "descriptor table (CLONE_FILES)", func(s *Sharing) *task.ID { return &s.Files }},
	{task.PartFS, unix.CLONE_FS, "working directory (CLONE_FS)", func(s *Sharing) *task.ID { return &s.FS }},
	{task.PartHandlers, unix.CLONE_SIGHAND, "signal handlers (CLONE_SIGHAND)", func(s *Sharing) *task.ID { return &s.Handlers }},
}

// Flags are the flags of clone(2) that make what is shared.
func (s *Sharing) Flags() uint64 {
	var flags uint64
	for _, sh := range Shareable {
		if *sh.Of(s) != 0 {
			flags |= sh.Flag
		}
	}
	return flags
}
