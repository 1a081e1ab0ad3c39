package fdstate

import (
	"errors"
	"fmt"
)

// Given is the record of an open file that a plugin has handed over at a
// restart, to take the place of a description of the tree. It is never in an
// image.
type Given struct {
	Index int `cbor:"1,keyasint" json:"index"` // of what was handed over
}

// Give puts files that are handed over in the place of what descriptors of the
// tree refer to; all that refer to the same description get the same.
// places[i] is where the i-th goes: the number of a table, and a descriptor there.
func (s *State) Give(places []User) error {
	for i, at := range places {
		if at.Proc < 0 || at.Proc >= len(s.Tables) {
			return errors.New("there is no such process")
		}
		file := -1
		for _, fd := range s.Tables[at.Proc] {
			if fd.Num == at.Num {
				file = fd.File
			}
		}
		if file < 0 {
			return fmt.Errorf("it has no descriptor %d", at.Num)
		}
		was := &s.Files[file]
		data, err := encodeRecord(&Given{Index: i})
		if err != nil {
			return err
		}
		s.Files = append(s.Files, File{Tag: tagGiven, Flags: accessOf(was.Flags), Link: was.Link, Data: data})
		s.replace(file, len(s.Files)-1)
	}
	return nil
}

// SetGiven tells at which numbers the builder has what was handed over.
func (r *Restorer) SetGiven(nums []int) { r.given = nums }

// Restore makes another descriptor of it.
func (rec *Given) Restore(o *Opener, _ *File, at Slot) error {
	if rec.Index < 0 || rec.Index >= len(o.r.given) {
		return errors.New("nothing was handed over")
	}
	o.Dup(o.r.given[rec.Index], at)
	return nil
}

// KeepsFlags: whoever has handed it over has set them.
func (*Given) KeepsFlags() {}
