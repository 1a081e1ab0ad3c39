package fdstate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"supervise/policy"
)

// Tag says of which kind a record is. Tags are in images: never renumber.
type Tag uint16

// State is every file descriptor of a tree.
type State struct {
	Files  []File  `cbor:"1,keyasint" json:"files"`
	Tables []Table `cbor:"2,keyasint" json:"tables"` // Tables[i] belongs to process i; then those of threads that have their own

	closed []closedFD // by rules, at this restart
}

// File is an open file description.
type File struct {
	Tag   Tag             `cbor:"1,keyasint" json:"tag"`
	Flags int             `cbor:"2,keyasint" json:"flags"` // access mode and status flags, as F_GETFL gives them
	Pos   int64           `cbor:"3,keyasint,omitempty" json:"pos,omitempty"`
	Link  string          `cbor:"4,keyasint" json:"link"` // as /proc/PID/fd showed it
	Owner *Owner          `cbor:"5,keyasint,omitempty" json:"owner,omitempty"`
	Locks []Lock          `cbor:"6,keyasint,omitempty" json:"locks,omitempty"`
	Data  cbor.RawMessage `cbor:"7,keyasint,omitempty" json:"-"` // the record of its kind; none if a rule left it out

	rule *policy.Rule // for the restart
}

// Rule is the rule for the restart, or nil.
func (f *File) Rule() *policy.Rule { return f.rule }

// captured tells whether there is a record. A file without one has no
// descriptors.
func (f *File) captured() bool { return len(f.Data) > 0 }

// Table is a process's descriptors in ascending order.
type Table []FD

// FD is one file descriptor.
type FD struct {
	Num         int  `cbor:"1,keyasint" json:"fd"`
	File        int  `cbor:"2,keyasint" json:"file"` // index into State.Files
	CloseOnExec bool `cbor:"3,keyasint,omitempty" json:"cloexec,omitempty"`
}

// Find gives the number at which the table has a file first, or -1.
func (t Table) Find(file int) int {
	for _, fd := range t {
		if fd.File == file {
			return fd.Num
		}
	}
	return -1
}

// at gives the descriptor of a number, or nil.
func (t Table) at(num int) *FD {
	i, ok := slices.BinarySearchFunc(t, num, func(fd FD, num int) int { return cmp.Compare(fd.Num, num) })
	if !ok {
		return nil
	}
	return &t[i]
}

// Record is the image form of one kind's object.
type Record interface {
	// Restore queues, or makes, the calls that open the description f at the
	// slot. Access mode and flags that only open(2) can set are its business;
	// other status flags, owner and locks are not.
	Restore(o *Opener, f *File, at Slot) error
}

// checker is a record with values that could send the restore side astray.
type checker interface {
	Check(s *State) error
}

// RecordError says that a record of an image is not as this program writes it.
type RecordError struct {
	File int
	Tag  Tag
	Err  error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record of file %d (tag %d): %v", e.File, e.Tag, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

var errUnknownTag = errors.New("unknown tag")

var (
	encMode = mustMode(cbor.CoreDetEncOptions().EncMode())
	decMode = mustMode(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements:  1 << 24,
	}.DecMode())
)

func mustMode[T any](mode T, err error) T {
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}

// encodeRecord gives the bytes of a record.
func encodeRecord(rec Record) (cbor.RawMessage, error) {
	return encMode.Marshal(rec)
}

// decodeRecord fills rec. It takes only what encodeRecord makes: the same
// bytes come out again.
func decodeRecord(data []byte, rec Record) error {
	if err := decMode.Unmarshal(data, rec); err != nil {
		return err
	}
	again, err := encMode.Marshal(rec)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errors.New("not in canonical form")
	}
	return nil
}

// Records decodes the records of all files, in their order. It is nil for a
// file that was left out.
func (s *State) Records(kinds []Kind) ([]Record, error) {
	byTag := make(map[Tag]*Kind, len(kinds))
	for i := range kinds {
		byTag[kinds[i].Tag] = &kinds[i]
	}
	records := make([]Record, len(s.Files))
	for i, f := range s.Files {
		if !f.captured() {
			continue
		}
		kind := byTag[f.Tag]
		if kind == nil || kind.New == nil {
			return nil, &RecordError{File: i, Tag: f.Tag, Err: errUnknownTag}
		}
		records[i] = kind.New()
		if err := decodeRecord(f.Data, records[i]); err != nil {
			return nil, &RecordError{File: i, Tag: f.Tag, Err: err}
		}
		if rec, ok := records[i].(checker); ok {
			if err := rec.Check(s); err != nil {
				return nil, &RecordError{File: i, Tag: f.Tag, Err: err}
			}
		}
	}
	return records, nil
}

// check looks for what would send the restore side astray: indexes out of
// range and numbers out of order.
func (s *State) check() error {
	used := make([]bool, len(s.Files))
	for i, table := range s.Tables {
		last := -1
		for _, fd := range table {
			switch {
			case fd.Num <= last || fd.Num > maxNumber:
				return fmt.Errorf("descriptor table %d: number %d after %d", i, fd.Num, last)
			case fd.File < 0 || fd.File >= len(s.Files):
				return fmt.Errorf("descriptor table %d: fd %d: no file %d", i, fd.Num, fd.File)
			}
			last, used[fd.File] = fd.Num, true
		}
	}
	for i := range s.Files {
		if used[i] && !s.Files[i].captured() {
			return fmt.Errorf("file %d (%s): a descriptor refers to it, and it has no record", i, s.Files[i].Link)
		}
		for _, l := range s.Files[i].Locks {
			if err := l.check(len(s.Tables)); err != nil {
				return fmt.Errorf("file %d (%s): %w", i, s.Files[i].Link, err)
			}
		}
	}
	return nil
}

// maxNumber is over every descriptor number that sysctl fs.nr_open allows.
const maxNumber = 1 << 30
