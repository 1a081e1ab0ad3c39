package taskstate

import (
	"supervise/internal/task"
)

// Process is the record of a live process.
type Process struct {
	ID      task.ID `cbor:"1,keyasint" json:"pid"`
	Parent  task.ID `cbor:"2,keyasint" json:"ppid"` // 0: outside the tree
	Group   task.ID `cbor:"3,keyasint" json:"pgid"` // 0: outside the tree's pid namespace
	Session task.ID `cbor:"4,keyasint" json:"sid"`
	TTY     int     `cbor:"5,keyasint,omitempty" json:"tty,omitempty"` // device number of the controlling terminal
	TPGID   task.ID `cbor:"6,keyasint,omitempty" json:"tpgid,omitempty"`

	ExitSignal int      `cbor:"7,keyasint" json:"exit_signal"`
	Stopped    int      `cbor:"8,keyasint,omitempty" json:"stopped,omitempty"` // job-control signal
	Command    []string `cbor:"9,keyasint" json:"command"`                     // as /proc shows it, for people
	FS         FS       `cbor:"10,keyasint" json:"fs"`
	Dumpable   int      `cbor:"12,keyasint" json:"dumpable"`
	Subreaper  bool     `cbor:"14,keyasint,omitempty" json:"subreaper,omitempty"`

	Creds     Creds        `cbor:"16,keyasint" json:"creds"`
	Limits    []Limit      `cbor:"17,keyasint" json:"limits"`
	Actions   []Action     `cbor:"18,keyasint" json:"signal_actions"`
	Pending   []Siginfo    `cbor:"19,keyasint,omitempty" json:"pending,omitempty"`
	Intervals []Interval   `cbor:"20,keyasint,omitempty" json:"itimers,omitempty"`
	Timers    []PosixTimer `cbor:"21,keyasint,omitempty" json:"timers,omitempty"`
	Threads   []Thread     `cbor:"22,keyasint" json:"threads"` // the leader first

	// StopUnseen: it is stopped, and its parent has not waited for that yet.
	StopUnseen bool `cbor:"23,keyasint,omitempty" json:"stop_unseen,omitempty"`

	OOMScoreAdj    string `cbor:"24,keyasint,omitempty" json:"oom_score_adj,omitempty"`
	CoredumpFilter string `cbor:"25,keyasint,omitempty" json:"coredump_filter,omitempty"`
	THPDisable     int64  `cbor:"26,keyasint,omitempty" json:"thp_disable,omitempty"` // as PR_GET_THP_DISABLE gives it
	MDWE           int64  `cbor:"27,keyasint,omitempty" json:"mdwe,omitempty"`        // PR_SET_MDWE: no memory both writable and executable
	Tiles          bool   `cbor:"28,keyasint,omitempty" json:"amx_tiles,omitempty"`   // may use them

	Filters []Filter `cbor:"30,keyasint,omitempty" json:"seccomp_filters,omitempty"` // of its threads

	Shares Sharing `cbor:"29,keyasint,omitzero" json:"shares,omitzero"`
}

// Thread is the record of a thread.
type Thread struct {
	ID        task.ID    `cbor:"1,keyasint" json:"tid"`
	Name      string     `cbor:"2,keyasint" json:"name"`
	Registers Registers  `cbor:"3,keyasint" json:"registers"`
	XState    []byte     `cbor:"4,keyasint" json:"xstate"`
	Mask      uint64     `cbor:"5,keyasint" json:"signal_mask"`
	Pending   []Siginfo  `cbor:"6,keyasint,omitempty" json:"pending,omitempty"`
	AltStack  AltStack   `cbor:"7,keyasint" json:"altstack"`
	ClearTID  task.Addr  `cbor:"8,keyasint,omitempty" json:"clear_child_tid,omitempty"`
	Robust    RobustList `cbor:"9,keyasint" json:"robust_list"`
	Rseq      Rseq       `cbor:"10,keyasint" json:"rseq"`
	Schedule  Schedule   `cbor:"11,keyasint" json:"schedule"`

	// Exited: it is the leader, which has exited while other threads run.
	Exited     bool `cbor:"12,keyasint,omitempty" json:"exited,omitempty"`
	ExitStatus int  `cbor:"13,keyasint,omitempty" json:"exit_status,omitempty"`

	FS          *FS `cbor:"14,keyasint,omitempty" json:"fs,omitempty"` // it is the first that has it (Left.FS)
	DeathSignal int `cbor:"15,keyasint,omitempty" json:"parent_death_signal,omitempty"`

	Creds       *Creds        `cbor:"16,keyasint,omitempty" json:"creds,omitempty"` // where not those of the process
	NoNewPrivs  bool          `cbor:"17,keyasint,omitempty" json:"no_new_privs,omitempty"`
	Speculation []Speculation `cbor:"18,keyasint,omitempty" json:"speculation,omitempty"`
	IOFlusher   bool          `cbor:"19,keyasint,omitempty" json:"io_flusher,omitempty"`
	Personality uint64        `cbor:"20,keyasint,omitempty" json:"personality,omitempty"`
	Dispatch    *Dispatch     `cbor:"21,keyasint,omitempty" json:"syscall_user_dispatch,omitempty"`
	Seccomp     *Seccomp      `cbor:"22,keyasint,omitempty" json:"seccomp,omitempty"`

	// Left has what the thread does not share with its process any more: the id
	// of the first thread that has it, or its own.
	Left Sharing `cbor:"23,keyasint,omitzero" json:"left,omitzero"`
}

// Zombie is the record of a process that is dead and not yet waited for.
type Zombie struct {
	ID      task.ID `cbor:"1,keyasint" json:"pid"`
	Parent  task.ID `cbor:"2,keyasint" json:"ppid"`
	Group   task.ID `cbor:"3,keyasint" json:"pgid"`
	Session task.ID `cbor:"4,keyasint" json:"sid"`
	Status  int     `cbor:"5,keyasint" json:"wait_status"`
	Comm    string  `cbor:"6,keyasint" json:"comm"`

	ExitSignal int `cbor:"7,keyasint" json:"exit_signal"`
}
