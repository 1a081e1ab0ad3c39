// Package virtual lets a program go on seeing the names and numbers of the host
// that it was started on: `supervise run --virtualize`. docs/virtualize.md has it
// from the user's side.
//
// A seccomp filter names the system calls concerned. The kernel lets the
// program wait in such a call and asks the answerer, a process of its own
// (man 2 seccomp_unotify), which gives the answer itself or lets the call go on.
// All other calls the kernel lets pass by one look at a bitmap.
//
// The answerer has a session of its own, outlives the supervisor that has started
// it, and ends when no process is under the filter any more. It alone holds the listener. Should it be killed, the
// kernel answers ENOSYS to the calls concerned, at once and for good: an
// error, never the answer of another host.
//
// Calls that a supervisor makes in a held task carry task.Mark and pass the
// filter: snapshots and restarts need no answerer.
package virtual

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"

	"supervise/internal/task"
)

// Rules are what a program is to see. They are in images.
type Rules struct {
	Hostname  string      `cbor:"1,keyasint,omitempty" json:"hostname,omitempty"`
	Files     []File      `cbor:"2,keyasint,omitempty" json:"files,omitempty"`
	Addresses []Address   `cbor:"3,keyasint,omitempty" json:"addresses,omitempty"`
	Hardware  []Interface `cbor:"4,keyasint,omitempty" json:"hardware_addresses,omitempty"`

	// Program is the filter that the tree is under, as SetProgram made it: an
	// array of struct sock_filter.
	Program []byte `cbor:"5,keyasint" json:"program"`

	Calls  []Call  `cbor:"6,keyasint,omitempty" json:"calls,omitempty"`
	Ioctls []Ioctl `cbor:"7,keyasint,omitempty" json:"ioctls,omitempty"`

	// Translate says that the tree has other process ids than it knows: Aliases
	// (restart --ids=translate, ids.go).
	Translate bool         `cbor:"8,keyasint,omitempty" json:"translate,omitempty"`
	Aliases   []task.Alias `cbor:"9,keyasint,omitempty" json:"aliases,omitempty"`
}

// File is a file that has this content for the program, whatever it has here.
type File struct {
	Path    string `cbor:"1,keyasint" json:"path"`
	Content []byte `cbor:"2,keyasint,omitempty" json:"content,omitempty"`
	Missing bool   `cbor:"3,keyasint,omitempty" json:"missing,omitempty"` // there is no such file
}

// Address is an IP address that the program uses, and the one that is used
// instead.
type Address struct {
	Seen string `cbor:"1,keyasint" json:"seen"`
	Real string `cbor:"2,keyasint" json:"real"`
}

// Interface is a network interface with its hardware address.
type Interface struct {
	Name    string `cbor:"1,keyasint" json:"name"`
	Address string `cbor:"2,keyasint" json:"address"`
}

// Limits of what the kernel and our own records have.
const (
	maxHostname  = 64 // __NEW_UTS_LEN
	maxContent   = 1 << 20
	maxInterface = 15 // IFNAMSIZ, less the zero
)

// Empty tells that there is nothing to answer.
func (r *Rules) Empty() bool {
	return !r.Translate && r.Hostname == "" && len(r.Files)+len(r.Addresses)+len(r.Hardware)+len(r.Calls)+len(r.Ioctls) == 0
}

// Check makes sure of what the answerer relies on. nil is right.
func (r *Rules) Check() error {
	if r == nil {
		return nil
	}
	if r.Empty() || len(r.Program) == 0 || len(r.Program)%insnSize != 0 {
		return fmt.Errorf("virtual: a filter of %d bytes for no rules or some", len(r.Program))
	}
	if len(r.Hostname) > maxHostname {
		return fmt.Errorf("virtual: a host name of %d bytes", len(r.Hostname))
	}
	for _, f := range r.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || len(f.Content) > maxContent {
			return fmt.Errorf("virtual: file %q with %d bytes", f.Path, len(f.Content))
		}
	}
	for _, a := range r.Addresses {
		if _, _, err := a.parse(); err != nil {
			return fmt.Errorf("virtual: %w", err)
		}
	}
	for _, i := range r.Hardware {
		if mac, err := net.ParseMAC(i.Address); err != nil || len(mac) != macSize || len(i.Name) > maxInterface {
			return fmt.Errorf("virtual: hardware address %q of %q", i.Address, i.Name)
		}
	}
	return errors.Join(r.checkFixed(), r.checkIDs())
}

// parse gives both addresses, which are of one family.
func (a *Address) parse() (seen, real netip.Addr, err error) {
	if seen, err = netip.ParseAddr(a.Seen); err == nil {
		real, err = netip.ParseAddr(a.Real)
	}
	switch {
	case err != nil:
	case seen.Zone() != "" || real.Zone() != "":
		err = fmt.Errorf("%s: an address with a zone", a.Seen)
	case seen.Is4In6() || real.Is4In6():
		err = fmt.Errorf("%s: write it as an IPv4 address", a.Seen)
	case seen.Is4() != real.Is4():
		err = fmt.Errorf("%s and %s are not of one family", a.Seen, a.Real)
	case seen.IsUnspecified() || real.IsUnspecified():
		err = fmt.Errorf("%s stands for any address", a.Seen)
	}
	return seen, real, err
}

// put replaces the element that same finds, or appends.
func put[T any](list []T, v T, same func(T) bool) []T {
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = v
		return list
	}
	return append(list, v)
}

func (r *Rules) putFile(f File) {
	r.Files = put(r.Files, f, func(o File) bool { return o.Path == f.Path })
}

func (r *Rules) putAddress(a Address) {
	r.Addresses = put(r.Addresses, a, func(o Address) bool { return o.Seen == a.Seen })
}

func (r *Rules) putInterface(i Interface) {
	r.Hardware = put(r.Hardware, i, func(o Interface) bool { return o.Name == i.Name })
}

// file finds the rule for a path, or nil.
func (r *Rules) file(path string) *File {
	for i := range r.Files {
		if r.Files[i].Path == path {
			return &r.Files[i]
		}
	}
	return nil
}
