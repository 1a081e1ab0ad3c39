package fdstate

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// Eventfd is the image record of an eventfd(2).
type Eventfd struct {
	Count     uint64 `cbor:"1,keyasint,omitempty" json:"count"`
	Semaphore bool   `cbor:"2,keyasint,omitempty" json:"semaphore,omitempty"`
}

func captureEventfd(d *Desc, _ *Survey) (Record, error) {
	e, err := d.Info.Eventfd()
	if err != nil {
		return nil, err
	}
	if e.Count == math.MaxUint64 {
		return nil, Refuse("its counter has overflowed, which only the kernel itself can do", "")
	}
	return &Eventfd{Count: e.Count, Semaphore: e.Semaphore}, nil
}

// Restore writes the count, since the initial value has 32 bits and the count
// has 64 (man 2 eventfd).
func (rec *Eventfd) Restore(o *Opener, _ *File, at Slot) error {
	flags := at.flag()
	if rec.Semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	o.Open(at, "eventfd2", unix.SYS_EVENTFD2, 0, flags)
	if rec.Count > 0 {
		o.Call("write", unix.SYS_WRITE, at.Num, binary.LittleEndian.AppendUint64(nil, rec.Count), 8)
	}
	return nil
}
