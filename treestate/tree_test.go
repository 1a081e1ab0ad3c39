package treestate

import (
	"bytes"
	"errors"
	"testing"

	"supervise/fdstate"
	"supervise/internal/task"
	"supervise/memstate"
	"supervise/taskstate"
)

// sample is a tree of two processes with one of everything.
func sample() *Tree {
	process := func(id, parent task.ID) Process {
		return Process{
			Process: taskstate.Process{
				ID: id, Parent: parent, Group: 7, Session: 7, ExitSignal: 17, Command: []string{"a", "b"}, FS: taskstate.FS{Cwd: "/"},
				Limits:  make([]taskstate.Limit, taskstate.Resources),
				Actions: []taskstate.Action{{Signal: 2, Handler: 0x1000, Mask: 4}},
				Timers:  []taskstate.PosixTimer{{ID: 3, Signal: 14, Spec: make([]byte, 32)}},
				Threads: []taskstate.Thread{
					{ID: id, Name: "a", Registers: make([]byte, 216), XState: []byte{1}},
					{ID: id + 1, Name: "b", Registers: make([]byte, 216), Pending: []taskstate.Siginfo{make([]byte, 128)}},
				},
			},
			Mem: memstate.Space{ID: uint32(id), VMAs: []memstate.VMA{
				{Start: 0x1000, End: 0x3000, Prot: 3, Kind: memstate.Anonymous, Flags: []string{"gd"}},
				{Start: 0x4000, End: 0x5000, Prot: 5, Kind: memstate.File, Path: "/bin/x", File: &memstate.FileID{Size: 9}},
			}},
		}
	}
	return &Tree{
		Version:   Version,
		Processes: []Process{process(7, 0), process(20, 7)},
		Zombies:   []taskstate.Zombie{{ID: 30, Parent: 7, Status: 256}},
		Objects:   []memstate.Object{{ID: 1, Space: 3, Kind: memstate.Memfd, Name: "m", Size: 4096}},
		Files: fdstate.State{
			Files:  []fdstate.File{{Tag: 1, Flags: 2, Link: "/dev/null", Data: []byte{0xa0}}},
			Tables: []fdstate.Table{{{Num: 0, File: 0}}, {}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tree.Encode()
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("encodes to other bytes (%v)", err)
	}
	if n := len(tree.IDs()); n != 5 {
		t.Errorf("%d ids", n)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Tree){
		"no process":          func(t *Tree) { t.Processes = nil },
		"tables missing":      func(t *Tree) { t.Files.Tables = nil },
		"child before parent": func(t *Tree) { t.Processes[0], t.Processes[1] = t.Processes[1], t.Processes[0] },
		"no leader":           func(t *Tree) { t.Processes[0].Threads = nil },
		"same id twice":       func(t *Tree) { t.Processes[1].Threads[1].ID = 7 },
		"id zero":             func(t *Tree) { t.Processes[0].ID, t.Processes[0].Threads[0].ID = 0, 0 },
	} {
		tree := sample()
		change(tree)
		b, err := tree.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := sample()
	newer.Version++
	b, err := newer.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b); err == nil || errors.Is(err, ErrMalformed) {
		t.Errorf("newer version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add(append(bytes.Clone(b), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := Decode(b)
		if err != nil {
			return
		}
		again, err := tree.Encode()
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%x decodes, and encodes to %x (%v)", b, again, err)
		}
	})
}
