// Package client speaks the control protocol (docs/protocol.md) with the
// supervisor of the tree that a program runs in, or of any other job.
//
// It depends on nothing but the standard library, so that it can be copied.
package client

import (
	"encoding/json"
	"time"
)

// Version is the version of the protocol that is spoken here.
const Version = 1

// MaxLine is the greatest length of a line, its end included.
const MaxLine = 1 << 20

// SocketVariable is the environment variable with the path of the socket.
const SocketVariable = "SUPERVISE_SOCKET"

// Codes of errors.
const (
	Malformed   = "malformed"
	Unknown     = "unknown"
	BadVersion  = "version"
	Denied      = "denied"
	Refused     = "refused"
	Held        = "held"
	NoImage     = "no-image"
	Damaged     = "damaged"
	Host        = "host"
	Unsupported = "unsupported"
	Interrupted = "interrupted"
	Failed      = "failed"
)

// Error is an error answer.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Names of events.
const (
	BeforeFreeze  = "before-freeze"
	Frozen        = "frozen"
	Captured      = "captured"
	Resumed       = "resumed"
	Committed     = "committed"
	SnapshotFail  = "failed"
	BeforeRestart = "before-restart"
	Restored      = "restored"
	Restarted     = "restarted"
	Gone          = "gone"
)

// Line is any line of the protocol, both ways.
type Line struct {
	ID      *int64          `json:"id,omitempty"`
	Request string          `json:"request,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`

	Event
	Reply  *int64 `json:"reply,omitempty"`
	Refuse string `json:"refuse,omitempty"`
}

// Event tells of a snapshot or a restart.
type Event struct {
	Name     string `json:"event,omitempty"`
	Seq      int64  `json:"seq,omitempty"`
	Deadline int64  `json:"deadline_ms,omitempty"` // of the reply, if one is waited for
	Reason   string `json:"reason,omitempty"`      // of failed
	Snapshot *Facts `json:"snapshot,omitempty"`
}

// Facts are what is known of a snapshot at an event.
type Facts struct {
	Job        string `json:"job"`
	RootPID    int    `json:"root_pid,omitempty"`
	Generation int    `json:"generation"`
	Image      string `json:"image,omitempty"`

	// From captured and before-restart on: what the snapshot holds. Plugins get
	// lists, too.
	Objects *Objects `json:"objects,omitempty"`

	// From restored on: what plugins have changed.
	Changes []string `json:"changes,omitempty"`
}

// Brief gives the facts with no more than so many entries in each list.
func (f *Facts) Brief(most int) *Facts {
	if f == nil || f.Objects == nil || len(f.Objects.Tree) <= most && len(f.Objects.Files) <= most {
		return f
	}
	brief, o := *f, *f.Objects
	o.Tree, o.Files, o.More = o.Tree[:min(len(o.Tree), most)], o.Files[:min(len(o.Files), most)], true
	brief.Objects = &o
	return &brief
}

// Objects are what a snapshot holds.
type Objects struct {
	Processes   int            `json:"processes"`
	Threads     int            `json:"threads"`
	Descriptors map[string]int `json:"descriptors"` // how many there are of each kind

	Tree  []Process `json:"tree,omitempty"`  // parents before children
	Files []File    `json:"files,omitempty"` // what descriptors refer to
	More  bool      `json:"more,omitempty"`  // both lists have only the first of many
}

// Process is one of the tree. Ids are as the tree sees them.
type Process struct {
	PID     int      `json:"pid"`
	Parent  int      `json:"parent,omitempty"`
	Threads int      `json:"threads"`
	Name    string   `json:"name"`
	Command []string `json:"command,omitempty"`
}

// File is a descriptor of a process.
type File struct {
	PID   int    `json:"pid"`
	FD    int    `json:"fd"`
	Kind  string `json:"kind"`
	Path  string `json:"path"` // or what /proc/PID/fd shows instead
	Local string `json:"local,omitempty"`
	Peer  string `json:"peer,omitempty"`

	// At a restart: what it becomes, if not what it was, and by whom: the line of a
	// policy, or "a plugin".
	Becomes string `json:"becomes,omitempty"`
	By      string `json:"by,omitempty"`
}

// Most is how many entries lists have that plugins get.
const Most = 500

// Outcome is how a checkpoint or restore ended.
type Outcome struct {
	Outcome    string  `json:"outcome"` // "resumed", "restarted" or "restored"
	Generation int     `json:"generation"`
	Image      string  `json:"image"`
	Snapshot   string  `json:"snapshot,omitempty"` // NAME@NNNN
	PauseMS    float64 `json:"pause_ms,omitempty"`
	RootPID    int     `json:"root_pid,omitempty"`
}

// Hello is the answer to hello.
type Hello struct {
	Version    int    `json:"version"`
	Program    string `json:"program"`
	Job        string `json:"job"`
	Generation int    `json:"generation"`
}

// Hold tells of one who holds snapshots back.
type Hold struct {
	Owner  string `json:"owner"`
	Depth  int    `json:"depth"`
	LeftMS int64  `json:"left_ms,omitempty"`
}

// Status is the answer to status.
type Status struct {
	Job             string            `json:"job"`
	Dir             string            `json:"dir"`
	Socket          string            `json:"socket"`
	RootPID         int               `json:"root_pid"`
	SupervisorPID   int               `json:"supervisor_pid"`
	Attached        bool              `json:"attached"`
	Processes       int               `json:"processes"`
	State           string            `json:"state"`
	Command         []string          `json:"command"`
	Generation      int               `json:"generation"`
	RestartedFrom   string            `json:"restarted_from"`
	IntervalMS      int64             `json:"interval_ms"`
	Snapshots       int               `json:"snapshots"`
	Newest          string            `json:"newest"`
	SnapshotRunning bool              `json:"snapshot_running"`
	Holds           []Hold            `json:"holds"`
	Annotations     map[string]string `json:"annotations"`
}

// Snapshot is an entry of a list.
type Snapshot struct {
	Snapshot    string            `json:"snapshot"` // NAME@NNNN
	Number      int               `json:"number"`
	Image       string            `json:"image"`
	State       string            `json:"state"`
	Created     *time.Time        `json:"created,omitempty"`
	Generation  int               `json:"generation"`
	PageBytes   int64             `json:"page_bytes"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// List is the answer to list.
type List struct {
	Snapshots []Snapshot `json:"snapshots"`
}
