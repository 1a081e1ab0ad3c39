// Package treestate is the record of a whole tree: what an image's records
// part holds. It is CBOR in the deterministic form of RFC 8949, section 4.2;
// decoding is strict, and what decodes encodes to the same bytes.
package treestate

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"supervise/fdstate"
	"supervise/internal/task"
	"supervise/ipcstate"
	"supervise/memstate"
	"supervise/netstate"
	"supervise/taskstate"
	"supervise/virtual"
)

// Version is the version of the records. It goes up with every change that an
// older reader would misunderstand.
const Version = 1

// Tree is everything in an image but the pages.
type Tree struct {
	Version   int                `cbor:"1,keyasint" json:"version"`
	Clocks    taskstate.Clocks   `cbor:"2,keyasint" json:"clocks"`
	Processes []Process          `cbor:"3,keyasint" json:"processes"` // parents before children; the root first
	Zombies   []taskstate.Zombie `cbor:"4,keyasint,omitempty" json:"zombies,omitempty"`
	Objects   []memstate.Object  `cbor:"5,keyasint,omitempty" json:"memory_objects,omitempty"`
	Files     fdstate.State      `cbor:"6,keyasint" json:"files"` // Tables[i] is that of Holders()[i]
	VDSO      memstate.VDSO      `cbor:"7,keyasint" json:"vdso"`
	XFeatures uint64             `cbor:"8,keyasint" json:"xfeatures"` // XSAVE components in use
	IPC       *ipcstate.State    `cbor:"9,keyasint,omitempty" json:"system_v_ipc,omitempty"`
	Blobs     map[string][]byte  `cbor:"11,keyasint,omitempty" json:"plugin_blobs,omitempty"` // what plugins have stored, by PLUGIN/NAME

	// Net is nil where no address of this host is in use.
	Net     *netstate.Namespace `cbor:"10,keyasint,omitempty" json:"network,omitempty"`
	Virtual *virtual.Rules      `cbor:"13,keyasint,omitempty" json:"virtual,omitempty"` // that all processes are under
}

// Process is everything about one process but its descriptors.
type Process struct {
	taskstate.Process `cbor:"1,keyasint"`
	Mem               memstate.Space `cbor:"2,keyasint" json:"memory"`
}

// Limits on what is decoded, against images made to exhaust memory. The
// records' size itself has been checked against the manifest's checksum.
const (
	maxElements = 1 << 24
	maxNesting  = 32
)

var (
	encMode = must(cbor.EncOptions{Sort: cbor.SortCoreDeterministic, IndefLength: cbor.IndefLengthForbidden}.EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: maxNesting,
		MaxArrayElements: maxElements, MaxMapPairs: maxElements,
	}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// Encode encodes the tree.
func (t *Tree) Encode() ([]byte, error) {
	b, err := encMode.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode records: %w", err)
	}
	return b, nil
}

// ErrMalformed is what every error of Decode is, but for a newer version.
var ErrMalformed = errors.New("malformed records")

// Decode decodes records.
func Decode(records []byte) (*Tree, error) {
	var t Tree
	if err := decMode.Unmarshal(records, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := t.Encode()
	if err != nil || !bytes.Equal(again, records) {
		return nil, fmt.Errorf("%w: not in deterministic form", ErrMalformed)
	}
	if t.Version != Version {
		return nil, fmt.Errorf("records have version %d; this program reads %d", t.Version, Version)
	}
	return &t, t.check()
}

// check makes sure of what every reader relies on.
func (t *Tree) check() error {
	if len(t.Processes) == 0 {
		return fmt.Errorf("%w: no process", ErrMalformed)
	}
	if holders := len(t.Holders()); len(t.Files.Tables) != holders {
		return fmt.Errorf("%w: %d descriptor tables, not %d", ErrMalformed, len(t.Files.Tables), holders)
	}
	if err := t.IPC.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := t.Net.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := t.Virtual.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	seen := map[task.ID]bool{}
	for i := range t.Processes {
		p := &t.Processes[i]
		switch {
		case len(p.Threads) == 0 || p.Threads[0].ID != p.ID:
			return fmt.Errorf("%w: process %d has no leader", ErrMalformed, p.ID)
		case len(p.Limits) != taskstate.Resources:
			return fmt.Errorf("%w: process %d has %d limits", ErrMalformed, p.ID, len(p.Limits))
		case p.Parent != 0 && !seen[p.Parent]:
			return fmt.Errorf("%w: process %d comes before its parent %d", ErrMalformed, p.ID, p.Parent)
		case p.Shares.Memory != 0 && len(p.Mem.VMAs) != 0 || p.Shares.Files != 0 && len(t.Files.Tables[i]) != 0:
			return fmt.Errorf("%w: process %d has what it shares with another", ErrMalformed, p.ID)
		}
		for _, th := range p.Threads {
			if th.ID <= 0 || seen[th.ID] {
				return fmt.Errorf("%w: id %d is taken twice", ErrMalformed, th.ID)
			}
			seen[th.ID] = true
		}
		if _, err := ThreadMakers(p.Threads); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	if _, err := t.Makers(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Holder is who has a descriptor table: Threads[Thread] of Processes[Process].
type Holder struct{ Process, Thread int }

// Holders are those of all tables, in order: every process, as its first
// thread, and then the threads with a table of their own.
func (t *Tree) Holders() []Holder {
	var procs, threads []Holder
	for i := range t.Processes {
		procs = append(procs, Holder{Process: i})
		for j := range t.Processes[i].Threads {
			if t.Processes[i].Threads[j].OwnFiles() {
				threads = append(threads, Holder{i, j})
			}
		}
	}
	return append(procs, threads...)
}

// Seccomped tells whether a thread has seccomp filters other than that of run
// --no-io-uring.
func (t *Tree) Seccomped() bool {
	return !t.eachThread(func(p *taskstate.Process, th *taskstate.Thread) bool {
		_, only := p.NoIoUring(th)
		return th.Seccomp == nil || only
	})
}

// NoIoUring tells whether every thread has the filter of run --no-io-uring.
func (t *Tree) NoIoUring() bool {
	return t.eachThread(func(p *taskstate.Process, th *taskstate.Thread) bool {
		has, _ := p.NoIoUring(th)
		return has
	})
}

// eachThread tells whether all threads are so.
func (t *Tree) eachThread(so func(*taskstate.Process, *taskstate.Thread) bool) bool {
	for i := range t.Processes {
		p := &t.Processes[i].Process
		for j := range p.Threads {
			if !so(p, &p.Threads[j]) {
				return false
			}
		}
	}
	return true
}

// IDs are all the process and thread ids that the tree must get back.
func (t *Tree) IDs() []task.ID {
	var ids []task.ID
	for i := range t.Processes {
		for _, th := range t.Processes[i].Threads {
			ids = append(ids, th.ID)
		}
	}
	for _, z := range t.Zombies {
		ids = append(ids, z.ID)
	}
	return ids
}
