package fdstate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Signalfd is the image record of a signalfd(2). The signals themselves wait
// in the processes.
type Signalfd struct {
	Mask uint64 `cbor:"1,keyasint" json:"mask"` // bit 0 is signal 1
}

func captureSignalfd(d *Desc, _ *Survey) (Record, error) {
	mask, err := d.Info.SignalMask()
	return &Signalfd{Mask: mask}, err
}

// Restore makes a new one with the same mask.
func (rec *Signalfd) Restore(o *Opener, _ *File, at Slot) error {
	o.Open(at, "signalfd4", unix.SYS_SIGNALFD4, -1, binary.LittleEndian.AppendUint64(nil, rec.Mask), 8, at.flag())
	return nil
}
