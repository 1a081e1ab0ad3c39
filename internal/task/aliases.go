package task

// Aliases are the ids by which a tree knows its processes and threads, where the
// kernel has other ones for them in the tree's own pid namespace (restart
// --ids=translate). nil: there are none, and every id is the kernel's.
type Aliases struct {
	kernel, own map[ID]ID
}

// Alias is one of them.
type Alias struct {
	Own    ID `cbor:"1,keyasint" json:"own"`    // as the tree knows it
	Kernel ID `cbor:"2,keyasint" json:"kernel"` // as it is
}

// NewAliases makes a set of aliases.
func NewAliases(list []Alias) *Aliases {
	a := &Aliases{kernel: map[ID]ID{}, own: map[ID]ID{}}
	for _, one := range list {
		a.add(one.Own, one.Kernel)
	}
	return a
}

func (a *Aliases) add(own, kernel ID) {
	if a != nil && own != 0 && own != kernel {
		a.kernel[own], a.own[kernel] = kernel, own
	}
}

// Kernel gives what the kernel calls a process, thread, group or session.
func (a *Aliases) Kernel(own ID) ID {
	if a != nil {
		if id, ok := a.kernel[own]; ok {
			return id
		}
	}
	return own
}

// Own gives what the tree calls it.
func (a *Aliases) Own(kernel ID) ID {
	if a != nil {
		if id, ok := a.own[kernel]; ok {
			return id
		}
	}
	return kernel
}

// Clash gives an id that is one of the tree's, and one of the kernel's as well.
func (a *Aliases) Clash() (id ID, ok bool) {
	if a == nil {
		return 0, false
	}
	for own := range a.kernel {
		if _, ok := a.own[own]; ok {
			return own, true
		}
	}
	return 0, false
}

// List gives all of them.
func (a *Aliases) List() []Alias {
	var list []Alias
	for own, kernel := range a.kernel {
		list = append(list, Alias{own, kernel})
	}
	return list
}
