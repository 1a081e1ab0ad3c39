package fdstate

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Device is the image record of a device that keeps nothing between calls. It
// is opened again by its name.
type Device struct {
	Major uint32 `cbor:"1,keyasint" json:"major"`
	Minor uint32 `cbor:"2,keyasint" json:"minor"`
}

// stateless are those devices (Linux Documentation/admin-guide/devices.txt).
var stateless = map[Device]bool{
	{1, 3}: true, // null
	{1, 5}: true, // zero
	{1, 7}: true, // full
	{1, 8}: true, // random
	{1, 9}: true, // urandom
}

// tun is /dev/net/tun, whose descriptors are parts of network interfaces.
var tun = unix.Mkdev(10, 200)

func isDevice(d *Desc) bool { return d.mode() == unix.S_IFCHR && d.tty == nil && d.Stat.Rdev != tun }

func captureDevice(d *Desc, _ *Survey) (Record, error) {
	rec := Device{Major: unix.Major(d.Stat.Rdev), Minor: unix.Minor(d.Stat.Rdev)}
	if !stateless[rec] {
		return nil, Refuse(fmt.Sprintf("the state of character device %d:%d is not known", rec.Major, rec.Minor), "")
	}
	return &rec, d.checkPath()
}

// Restore opens the device by name and makes sure it is the same.
func (rec *Device) Restore(o *Opener, f *File, at Slot) error {
	o.OpenPath(at, "open", f.Link, f.Flags)
	o.stat(at.Num, func(st *unix.Stat_t) error {
		if got := (Device{unix.Major(st.Rdev), unix.Minor(st.Rdev)}); got != *rec {
			return fmt.Errorf("%s is device %d:%d, was %d:%d", f.Link, got.Major, got.Minor, rec.Major, rec.Minor)
		}
		return nil
	})
	return nil
}
