package netstate

import "errors"

// Settings is the image record of what can be set at a socket of any family.
type Settings struct {
	Options []Option `cbor:"1,keyasint,omitempty" json:"options,omitempty"`
	Buffers Buffers  `cbor:"2,keyasint" json:"buffers"`
	Filter  *Filter  `cbor:"3,keyasint,omitempty" json:"filter,omitempty"`
}

// readSettings compares a socket with a new one of its kind.
func readSettings(fd int, fresh *usual, tables ...[]optionRow) (s Settings, err error) {
	if s.Options, err = readOptions(fd, fresh, tables...); err != nil {
		return s, err
	}
	if s.Buffers, err = readBuffers(fd, fresh); err != nil {
		return s, err
	}
	s.Filter, err = readFilter(fd)
	return s, err
}

// option gives the value of an option of one number, 0 if it is as usual.
func (s *Settings) option(level, name int) byte {
	for _, o := range s.Options {
		if o.Level == level && o.Name == name && len(o.Value) > 0 {
			return o.Value[0]
		}
	}
	return 0
}

// complete sets what is set at the end.
func (s *Settings) complete(fd int) error {
	return errors.Join(setOptions(fd, s.Options, atEnd), s.Buffers.set(fd), s.Filter.set(fd))
}

// check is for records out of an image.
func (s *Settings) check() error { return errors.Join(checkOptions(s.Options), s.Filter.check()) }
