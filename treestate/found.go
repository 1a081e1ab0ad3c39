package treestate

import (
	"supervise/netstate"
	"supervise/plugins/client"
)

// Found tells what there is in a tree: everything is counted, and the first
// of each list are named.
func (t *Tree) Found(most int) (*client.Objects, error) {
	o := &client.Objects{Processes: len(t.Processes), Descriptors: map[string]int{}}
	for i := range t.Processes {
		p := &t.Processes[i]
		o.Threads += len(p.Threads)
		if len(o.Tree) < most {
			o.Tree = append(o.Tree, client.Process{PID: int(p.ID), Parent: int(p.Parent), Threads: len(p.Threads), Name: p.Threads[0].Name, Command: p.Command})
		}
	}
	entries, all, err := t.Files.List(netstate.WithFiles(), most, o.Descriptors)
	if err != nil {
		return nil, err
	}
	holders := t.Holders()
	for _, e := range entries {
		o.Files = append(o.Files, client.File{PID: int(t.Processes[holders[e.Table].Process].ID), FD: e.FD, Kind: e.Kind, Path: e.Path,
			Local: e.Ends.Local, Peer: e.Ends.Peer, Becomes: e.Becomes, By: e.By})
	}
	o.More = !all || len(o.Tree) < len(t.Processes)
	return o, nil
}
