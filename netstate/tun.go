package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// Tun is the image record of a descriptor of /dev/net/tun: one queue of a
// network interface (Linux drivers/net/tun.c).
type Tun struct {
	Name     string   `cbor:"1,keyasint,omitempty" json:"name,omitempty"` // of the interface; none if it is not attached
	Flags    uint16   `cbor:"2,keyasint,omitempty" json:"flags,omitempty"`
	Detached bool     `cbor:"3,keyasint,omitempty" json:"detached,omitempty"` // TUNSETQUEUE
	Values   []int    `cbor:"4,keyasint,omitempty" json:"values,omitempty"`   // of tunValues, in their order; -1 where there is none
	Link     *TunLink `cbor:"5,keyasint,omitempty" json:"link,omitempty"`

	made map[string]bool // interfaces that this restart has made
}

// tunValues are the numbers that are read and set by ioctl(2).
var tunValues = []struct {
	name     string
	get, set uint
}{
	{"TUNGETSNDBUF", unix.TUNGETSNDBUF, unix.TUNSETSNDBUF},
	{"TUNGETVNETHDRSZ", unix.TUNGETVNETHDRSZ, unix.TUNSETVNETHDRSZ},
	{"TUNGETVNETLE", unix.TUNGETVNETLE, unix.TUNSETVNETLE},
	{"TUNGETVNETBE", unix.TUNGETVNETBE, unix.TUNSETVNETBE},
}

// tunPersist is IFF_PERSIST, which TUNGETIFF adds to the flags that TUNSETIFF
// takes (Linux include/uapi/linux/if_tun.h).
const (
	tunPersist = 0x0800
	tunDevice  = 10<<8 | 200 // the number of /dev/net/tun
)

func isTun(d *fdstate.Desc) bool {
	return d.Stat.Mode&unix.S_IFMT == unix.S_IFCHR && d.Stat.Rdev == tunDevice && d.Flags()&unix.O_PATH == 0
}

// captureTun makes the record.
func captureTun(d *fdstate.Desc, all *fdstate.Survey) (fdstate.Record, error) {
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	rec := &Tun{}
	ifreq, err := unix.NewIfreq("")
	if err != nil {
		return nil, err
	}
	err = unix.IoctlIfreq(fd, unix.TUNGETIFF, ifreq)
	if errors.Is(err, unix.EBADFD) {
		return rec, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ioctl TUNGETIFF: %w", err)
	}
	rec.Name = ifreq.Name()
	flags := ifreq.Uint16()
	rec.Detached = flags&unix.IFF_DETACH_QUEUE != 0
	rec.Flags = flags &^ (unix.IFF_DETACH_QUEUE | unix.IFF_NO_PI)
	if err := rec.refuse(fd); err != nil {
		return nil, err
	}
	for _, v := range tunValues {
		n, err := unix.IoctlGetInt(fd, v.get)
		if errors.Is(err, unix.EINVAL) {
			n, err = -1, nil // this kernel has no other order of bytes
		}
		if err != nil {
			return nil, fmt.Errorf("ioctl %s: %w", v.name, err)
		}
		rec.Values = append(rec.Values, int(int32(n)))
	}
	rec.Link, err = rec.captureLink(all)
	return rec, err
}

// refuse refuses what cannot be read back.
func (rec *Tun) refuse(fd int) error {
	ready, err := fdstate.Poll(fd, unix.POLLIN)
	switch {
	case err != nil:
		return err
	case ready&unix.POLLIN != 0:
		return fdstate.RefuseNow("packets wait to be read from it")
	case rec.Flags&unix.IFF_TAP == 0:
		return nil
	}
	prog := make([]byte, 16) // struct sock_fprog
	if err := ioctlBytes(fd, unix.TUNGETFILTER, prog); err != nil {
		return fmt.Errorf("ioctl TUNGETFILTER: %w", err)
	}
	if binary.LittleEndian.Uint16(prog) != 0 {
		return fdstate.Refuse("it has a packet filter (TUNATTACHFILTER), which cannot be read back", "")
	}
	return nil
}

// Check is for records out of an image.
func (rec *Tun) Check(*fdstate.State) error {
	if len(rec.Name) >= unix.IFNAMSIZ || rec.Name != "" && (len(rec.Values) != len(tunValues) || rec.Link == nil) {
		return errors.New("not a queue of a network interface")
	}
	return rec.Link.check()
}

// Restore attaches the descriptor to the interface again, and makes that if it
// is not there.
func (rec *Tun) Restore(o *fdstate.Opener, f *fdstate.File, at fdstate.Slot) error {
	o.OpenPath(at, "open "+f.Link, f.Link, f.Flags)
	if rec.Name == "" {
		return nil
	}
	o.Then(func() error {
		nl, err := borrowNetlink(o.Proc, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(nl)
		return onCopy(o, at.Num, func(fd int) error { return rec.attach(fd, nl) })
	})
	return nil
}

// attach makes the queue. The interface belongs to the first one, or outlives
// them all (TUNSETPERSIST); of that only what it lacks is set.
func (rec *Tun) attach(fd, nl int) error {
	_, err := interfaceIndex(nl, rec.Name)
	there := err == nil
	if there && !rec.made[rec.Name] && rec.Flags&tunPersist == 0 {
		return &HostError{Why: fmt.Sprintf("there is an interface %s already", rec.Name), Hint: "end the program that has made it"}
	}
	ifreq, err := unix.NewIfreq(rec.Name)
	if err != nil {
		return err
	}
	ifreq.SetUint16(rec.Flags &^ tunPersist)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &HostError{Why: fmt.Sprintf("another program uses the interface %s", rec.Name), Hint: "end it first", Err: err}
	case errors.Is(err, unix.EPERM):
		return &HostError{Why: fmt.Sprintf("this user may not make the interface %s", rec.Name),
			Hint: "restart it as root, or have root make the interface for this user: ip tuntap add", Err: err}
	case err != nil:
		return fmt.Errorf("ioctl TUNSETIFF %s: %w", rec.Name, err)
	}
	if !there {
		rec.made[rec.Name] = true
		if err := rec.Link.restore(fd, nl, rec); err != nil {
			return fmt.Errorf("interface %s: %w", rec.Name, err)
		}
	}
	for i, v := range tunValues {
		if rec.Values[i] < 0 || rec.Detached && there {
			continue // they are the interface's, as a queue of it that is in use has them
		}
		if err := unix.IoctlSetPointerInt(fd, v.set, rec.Values[i]); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("ioctl of %s: %w", v.name, err)
		}
	}
	if !rec.Detached {
		return nil
	}
	ifreq.SetUint16(unix.IFF_DETACH_QUEUE)
	return unix.IoctlIfreq(fd, unix.TUNSETQUEUE, ifreq)
}
