// Package memstate holds what belongs to address spaces: mappings, the pages
// in them, the kernel's notes on an address space (break, arguments, auxv,
// exe link), and memory objects that several processes, or a mapping and a
// descriptor, share.
//
// Pages themselves go straight between the image and the tree (memimg.Source
// and memimg.Sink); a record only says where they belong.
package memstate

import (
	"strings"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Space is the record of one address space.
type Space struct {
	ID     uint32  `cbor:"1,keyasint" json:"space"` // of its pages in the image
	VMAs   []VMA   `cbor:"2,keyasint" json:"mappings"`
	Guards []Range `cbor:"3,keyasint,omitempty" json:"guards,omitempty"` // MADV_GUARD_INSTALL
	VDSO   Range   `cbor:"4,keyasint" json:"vdso"`                       // [vvar] to the end of [vdso]
	MM     MM      `cbor:"5,keyasint" json:"mm"`
	Keys   uint16  `cbor:"6,keyasint,omitempty" json:"keys,omitempty"` // protection keys that are allocated, a bit each
	VVar   Range   `cbor:"7,keyasint,omitzero" json:"vvar,omitzero"`   // what is left of the vDSO where [vdso] was unmapped
}

// Range is a range of addresses.
type Range struct {
	Start task.Addr `cbor:"1,keyasint" json:"start"`
	End   task.Addr `cbor:"2,keyasint" json:"end"`
}

// VMAKind says what is behind a mapping.
type VMAKind uint8

// Kinds of mappings. The numbers are in images.
const (
	Anonymous VMAKind = 1 // private memory without a file
	File      VMAKind = 2 // a file, by path
	InObject  VMAKind = 3 // an Object of the image
	InRing    VMAKind = 4 // the ring of a context of asynchronous I/O
)

// VMA is the record of one mapping.
type VMA struct {
	Start  task.Addr `cbor:"1,keyasint" json:"start"`
	End    task.Addr `cbor:"2,keyasint" json:"end"`
	Prot   int       `cbor:"3,keyasint" json:"prot"`
	Kind   VMAKind   `cbor:"4,keyasint" json:"kind"`
	Shared bool      `cbor:"5,keyasint,omitempty" json:"shared,omitempty"`
	Offset uint64    `cbor:"6,keyasint,omitempty" json:"offset,omitempty"`
	Path   string    `cbor:"7,keyasint,omitempty" json:"path,omitempty"`
	Object uint32    `cbor:"8,keyasint,omitempty" json:"object,omitempty"`
	Flags  []string  `cbor:"9,keyasint,omitempty" json:"flags,omitempty"`      // VmFlags that a restart sets again
	Name   string    `cbor:"10,keyasint,omitempty" json:"name,omitempty"`      // PR_SET_VMA_ANON_NAME
	File   *FileID   `cbor:"11,keyasint,omitempty" json:"file,omitempty"`      // of a private file mapping
	Write  bool      `cbor:"12,keyasint,omitempty" json:"may_write,omitempty"` // shared, by a descriptor that was open for writing (VM_SHARED)
	Huge   uint8     `cbor:"13,keyasint,omitempty" json:"huge,omitempty"`      // hugetlb: log2 of the page size
	Policy *Policy   `cbor:"14,keyasint,omitempty" json:"policy,omitempty"`
	Key    uint8     `cbor:"15,keyasint,omitempty" json:"key,omitempty"` // protection key
	Ring   *Ring     `cbor:"16,keyasint,omitempty" json:"ring,omitempty"`
}

// Len is the size in bytes.
func (v *VMA) Len() uint64 { return uint64(v.End - v.Start) }

func (v *VMA) has(flag string) bool {
	for _, f := range v.Flags {
		if f == flag {
			return true
		}
	}
	return false
}

// vdsoGroup tells whether the kernel maps v together with the vDSO.
func vdsoGroup(v *procfs.VMA) bool {
	return v.Path == "[vdso]" || strings.HasPrefix(v.Path, "[vvar")
}
