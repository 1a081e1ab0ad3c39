package treestate

import (
	"supervise/internal/translate"
	"supervise/netstate"
)

// Translate changes the names of the host in a tree that is to be restarted: of
// files, directories and sockets.
func (t *Tree) Translate(v *translate.Values) error {
	if v.Empty() {
		return nil
	}
	for i := range t.Processes {
		t.Processes[i].Translate(v)
		t.Processes[i].Mem.Translate(v)
	}
	for i := range t.Objects {
		t.Objects[i].Translate(v)
	}
	t.Net.Translate(v)
	return t.Files.Translate(netstate.WithFiles(), v)
}
