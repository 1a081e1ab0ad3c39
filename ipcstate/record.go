package ipcstate

import (
	"errors"
	"fmt"
	"slices"

	"supervise/internal/task"
)

// State is every System V object of a tree.
type State struct {
	Segments []Segment `cbor:"1,keyasint,omitempty" json:"segments,omitempty"`
	Arrays   []Array   `cbor:"2,keyasint,omitempty" json:"semaphore_arrays,omitempty"`
	Queues   []Queue   `cbor:"3,keyasint,omitempty" json:"message_queues,omitempty"`
	Undos    []Undo    `cbor:"4,keyasint,omitempty" json:"semaphore_undos,omitempty"`
	Own      bool      `cbor:"5,keyasint,omitempty" json:"own_namespace,omitempty"` // the tree had an ipc namespace of its own
}

// Perm is what every object has (man 2 semctl, struct ipc_perm).
type Perm struct {
	ID   int    `cbor:"1,keyasint" json:"id"`
	Key  int32  `cbor:"2,keyasint" json:"key"`
	UID  int    `cbor:"3,keyasint" json:"uid"`
	GID  int    `cbor:"4,keyasint" json:"gid"`
	CUID int    `cbor:"5,keyasint" json:"cuid"` // creator's
	CGID int    `cbor:"6,keyasint" json:"cgid"`
	Mode uint32 `cbor:"7,keyasint" json:"mode"`
}

// Segment is a shared memory segment. Its content is a memory object.
type Segment struct {
	Perm   Perm    `cbor:"1,keyasint" json:"perm"`
	Size   uint64  `cbor:"2,keyasint" json:"size"`
	Object uint32  `cbor:"3,keyasint" json:"object"`
	Maker  task.ID `cbor:"4,keyasint,omitempty" json:"cpid,omitempty"`
	Last   task.ID `cbor:"5,keyasint,omitempty" json:"lpid,omitempty"`  // who attached or detached last
	Named  int32   `cbor:"6,keyasint,omitempty" json:"named,omitempty"` // key that it had until IPC_RMID
}

// Array is an array of semaphores.
type Array struct {
	Perm       Perm        `cbor:"1,keyasint" json:"perm"`
	Semaphores []Semaphore `cbor:"2,keyasint" json:"semaphores"`

	// Operated says that semop(2) has been used. Programs look whether
	// sem_otime is zero to find out if an array has been initialised.
	Operated bool `cbor:"3,keyasint,omitempty" json:"operated,omitempty"`

	Loose bool `cbor:"4,keyasint,omitempty" json:"loose,omitempty"` // likely the tree's, not for certain
}

// Semaphore is one semaphore.
type Semaphore struct {
	Value int     `cbor:"1,keyasint" json:"value"`
	Last  task.ID `cbor:"2,keyasint,omitempty" json:"sempid,omitempty"` // who changed it last
}

// Queue is a message queue.
type Queue struct {
	Perm     Perm      `cbor:"1,keyasint" json:"perm"`
	MaxBytes uint64    `cbor:"2,keyasint" json:"qbytes"`
	Messages []Message `cbor:"3,keyasint,omitempty" json:"messages,omitempty"` // the oldest first
	Sender   task.ID   `cbor:"4,keyasint,omitempty" json:"lspid,omitempty"`    // the last one
	Receiver task.ID   `cbor:"5,keyasint,omitempty" json:"lrpid,omitempty"`
	Loose    bool      `cbor:"6,keyasint,omitempty" json:"loose,omitempty"` // likely the tree's, not for certain
}

// Message is one message.
type Message struct {
	Type int64  `cbor:"1,keyasint" json:"type"`
	Text []byte `cbor:"2,keyasint" json:"text"`
}

// Undo is what a process's death adds to the semaphores of one array.
type Undo struct {
	Process     task.ID      `cbor:"1,keyasint" json:"process"`
	Array       int          `cbor:"2,keyasint" json:"array"` // id
	Adjustments []Adjustment `cbor:"3,keyasint" json:"adjustments"`
}

// Adjustment is added to a semaphore.
type Adjustment struct {
	Num int `cbor:"1,keyasint" json:"num"`
	By  int `cbor:"2,keyasint" json:"by"`
}

// Empty tells whether there is nothing to restore.
func (s *State) Empty() bool { return s == nil || len(s.Segments)+len(s.Arrays)+len(s.Queues) == 0 }

// perms gives what all objects have in common.
func (s *State) perms() []*Perm {
	var all []*Perm
	for i := range s.Segments {
		all = append(all, &s.Segments[i].Perm)
	}
	for i := range s.Arrays {
		all = append(all, &s.Arrays[i].Perm)
	}
	for i := range s.Queues {
		all = append(all, &s.Queues[i].Perm)
	}
	return all
}

// Foreign gives an object that does not belong to a user, or nil: only root
// can make it again.
func (s *State) Foreign(uid, gid int) *Perm {
	if s == nil {
		return nil
	}
	for _, p := range s.perms() {
		if p.UID != uid || p.CUID != uid || p.GID != gid || p.CGID != gid {
			return p
		}
	}
	return nil
}

// Check looks for what no snapshot writes and a restart would trip over.
func (s *State) Check() error {
	if s == nil {
		return nil
	}
	for _, p := range s.perms() {
		if p.ID < 0 {
			return fmt.Errorf("id %d of a System V object", p.ID)
		}
	}
	arrays := map[int]int{}
	for i := range s.Arrays {
		a := &s.Arrays[i]
		arrays[a.Perm.ID] = len(a.Semaphores)
		for _, sem := range a.Semaphores {
			if sem.Value < 0 || sem.Value > maxValue {
				return fmt.Errorf("semaphore array %d has a value of %d", a.Perm.ID, sem.Value)
			}
		}
	}
	for i := range s.Undos {
		if err := s.Undos[i].check(arrays); err != nil {
			return err
		}
	}
	for i := range s.Queues {
		for _, m := range s.Queues[i].Messages {
			if m.Type <= 0 || len(m.Text) > maxText {
				return errors.New("message of impossible type or length")
			}
		}
	}
	return nil
}

func (u *Undo) check(arrays map[int]int) error {
	for _, a := range u.Adjustments {
		if a.Num < 0 || a.Num >= arrays[u.Array] || a.By < minAdjust || a.By > maxValue {
			return fmt.Errorf("an adjustment of semaphore %d of array %d by %d", a.Num, u.Array, a.By)
		}
	}
	return nil
}

// names tells whether the record names a process as a user of anything.
func (s *State) names(id task.ID) bool {
	for i := range s.Segments {
		if s.Segments[i].Maker == id || s.Segments[i].Last == id {
			return true
		}
	}
	for i := range s.Arrays {
		if slices.ContainsFunc(s.Arrays[i].Semaphores, func(sem Semaphore) bool { return sem.Last == id }) {
			return true
		}
	}
	return slices.ContainsFunc(s.Queues, func(q Queue) bool { return q.Sender == id || q.Receiver == id })
}
