package taskstate

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Limit is one resource limit; its index in Process.Limits is the resource's
// number (man 2 getrlimit).
type Limit struct {
	Soft uint64 `cbor:"1,keyasint" json:"soft"`
	Hard uint64 `cbor:"2,keyasint" json:"hard"`
}

// resources is the number of resource limits (RLIM_NLIMITS).
const resources = 16

// captureLimits asks inside: from outside it takes CAP_SYS_RESOURCE for
// another user's process.
func captureLimits(c *capture) error {
	c.rec.Limits = make([]Limit, resources)
	for i := range resources {
		buf := make([]byte, 16)
		c.batch.Add(unix.SYS_PRLIMIT64, 0, i, 0, buf)
		c.later = append(c.later, func() {
			c.rec.Limits[i] = Limit{binary.LittleEndian.Uint64(buf[0:]), binary.LittleEndian.Uint64(buf[8:])}
		})
	}
	return nil
}

// restoreLimits sets the limits from outside. A hard limit that is above ours
// and that we may not raise stays as it is here.
func restoreLimits(r *restore) error {
	for i, l := range r.rec.Limits {
		want := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		var have unix.Rlimit
		if err := unix.Prlimit(int(r.held.PID), i, nil, &have); err != nil {
			return err
		}
		if have == want {
			continue
		}
		err := unix.Prlimit(int(r.held.PID), i, &want, nil)
		if errors.Is(err, unix.EPERM) {
			want.Max = min(want.Max, have.Max)
			want.Cur = min(want.Cur, want.Max)
			err = unix.Prlimit(int(r.held.PID), i, &want, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
