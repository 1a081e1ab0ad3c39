package treestate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

// flagNames are the letters of what is shared, in tests.
var flagNames = []struct {
	flag uint64
	name string
}{{unix.CLONE_VM, "m"}, {unix.CLONE_FILES, "f"}, {unix.CLONE_FS, "d"}, {unix.CLONE_SIGHAND, "h"}}

func letters(flags uint64) (s string) {
	for _, f := range flagNames {
		if flags&f.flag != 0 {
			s += f.name
		}
	}
	return s
}

// text writes origins as "3<1f": 1 makes 3, which has its descriptors; "3=2" by CLONE_PARENT,
// "3~2" through one that ends. "-f3" is 3 made after something was given up, "3-f" one that gives it up in the end.
func text(all []Origin) string {
	var words []string
	for _, o := range all {
		before, last := "", ""
		if o.Sheds != 0 {
			before = "-" + letters(o.Sheds) + " "
		}
		if o.Last != 0 {
			last = "-" + letters(o.Last)
		}
		words = append(words, fmt.Sprintf("%s%d%c%d%s%s", before, o.ID, "<=~"[o.Way], o.Maker, letters(o.Flags), last))
	}
	return strings.Join(words, ", ")
}

func TestMakers(t *testing.T) {
	const chld = int(unix.SIGCHLD)
	in := func(id, parent, session task.ID, s taskstate.Sharing) *taskstate.Process {
		return &taskstate.Process{ID: id, Parent: parent, Session: session, ExitSignal: chld, Shares: s}
	}
	proc := func(id, parent task.ID, s taskstate.Sharing) *taskstate.Process { return in(id, parent, 1, s) }
	signal := func(sig int, p *taskstate.Process) *taskstate.Process { p.ExitSignal = sig; return p }
	none := taskstate.Sharing{}
	files := func(id task.ID) taskstate.Sharing { return taskstate.Sharing{Files: id} }
	memory := func(id task.ID) taskstate.Sharing { return taskstate.Sharing{Memory: id} }
	type procs = []*taskstate.Process
	for _, test := range []struct {
		name    string
		procs   procs
		want    string // empty: none
		zombies []taskstate.Zombie
	}{
		{"nothing shared", procs{proc(1, 0, none), proc(2, 1, none)}, "1<0, 2<1", nil},
		{"with the parent", procs{proc(1, 0, none), proc(2, 1, files(1))}, "1<0, 2<1f", nil},
		{"with a grandparent", procs{proc(1, 0, none), proc(2, 1, files(1)), proc(3, 2, files(1))}, "1<0, 2<1f, 3<2f", nil},
		{"descriptors past the parent", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 2, files(1))}, "1<0, 2<1f-f, 3<2f", nil},
		{"memory past the parent", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 2, memory(1))}, "1<0, 2<1m-mfh, 3<2m", nil},
		{"memory past a parent that has executed nothing",
			procs{proc(1, 0, none), signal(0, proc(2, 1, none)), proc(3, 2, memory(1))}, "", nil},
		{"and a child with its own", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 2, files(2)), proc(4, 2, files(1))},
			"1<0, 2<1f, 4<2f, -f 3<2f", nil},
		{"with a sibling", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 1, files(2))}, "1<0, 2<1, 3=2f", nil},
		{"a sibling with another exit signal", procs{proc(1, 0, none), proc(2, 1, none), signal(0, proc(3, 1, files(2)))}, "1<0-f, 2<1f, 3<1f", nil},
		{"a sibling with another exit signal, of a parent that keeps its own",
			procs{proc(1, 0, none), signal(0, proc(2, 1, none)), proc(3, 1, files(2)), proc(4, 1, files(1))}, "1<0, 2<1f, 3<1f, -f 4<1f", nil},
		{"a sibling in another session", procs{in(1, 0, 1, none), in(2, 1, 9, none), in(3, 1, 8, files(2))}, "1<0-f, 2<1f, 3<1f", nil},
		{"a sibling that began a session later", procs{in(1, 0, 1, none), in(2, 1, 2, none), in(3, 1, 1, files(2))}, "1<0, 2<1, 3=2f", nil},
		{"things of two", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 1, taskstate.Sharing{Files: 1, FS: 2})}, "1<0-d, 2<1d, 3<1fd", nil},
		{"an adopted one with one further below",
			procs{proc(1, 0, none), proc(2, 1, none), proc(3, 2, none), proc(4, 1, memory(3))}, "1<0, 2<1, 3<2, 4~3m", nil},
		{"an adopted one with another exit signal",
			procs{proc(1, 0, none), proc(2, 1, none), proc(3, 2, none), signal(0, proc(4, 1, memory(3)))}, "1<0-mfh, 2<1m-mfh, 4<1m, 3<2m", nil},
		{"two that the supervisor has adopted", procs{proc(1, 0, none), proc(2, 0, none), proc(3, 0, files(2))}, "1<0, 2~1, 3=2f", nil},
		{"one that the supervisor has adopted", procs{proc(1, 0, none), proc(2, 1, none), proc(3, 0, files(2))}, "1<0-f, 2<1f, 3~1f", nil},
		{"a chain of things", procs{proc(1, 0, none), proc(2, 1, taskstate.Sharing{}), signal(0, proc(3, 1, taskstate.Sharing{Memory: 2})),
			signal(1, proc(4, 1, taskstate.Sharing{FS: 3}))}, "1<0-mfdh, 2<1m, 3<1md, 4<1d", nil},
		{"all of three", procs{proc(1, 0, none), proc(2, 1, none), signal(0, proc(3, 1, taskstate.Sharing{Files: 2})),
			signal(1, proc(4, 1, taskstate.Sharing{Memory: 3, FS: 2}))}, "1<0-mfdh, 2<1fd, 3<1mf, 4<1md", nil},
		{"crosswise", procs{proc(1, 0, none), signal(0, proc(2, 1, none)), signal(9, proc(3, 1, taskstate.Sharing{Files: 2})),
			signal(10, proc(4, 1, taskstate.Sharing{FS: 2})), signal(11, proc(5, 1, taskstate.Sharing{Files: 4, FS: 3}))}, "", nil},
		{"handlers without memory", procs{proc(1, 0, none), proc(2, 1, taskstate.Sharing{Handlers: 1})}, "", nil},
		{"an adopted one in the session of another child", procs{in(1, 0, 1, none), in(2, 1, 2, none), in(3, 1, 2, none)}, "1<0, 2<1, 3~2", nil},
		{"which has descriptors of the parent", procs{in(1, 0, 1, none), in(2, 1, 2, none), in(3, 1, 2, files(1))}, "1<0, 2<1f-f, 3~2f", nil},
		{"in the session of a zombie", procs{in(1, 0, 1, none), in(3, 1, 2, none)}, "1<0, 2<1, 3~2",
			[]taskstate.Zombie{{ID: 2, Parent: 1, Session: 2, ExitSignal: chld}}},
	} {
		got, err := Makers(test.procs, test.zombies)
		var sharing *SharingError
		if text(got) != test.want || (err != nil) != errors.As(err, &sharing) || (err != nil) != (test.want == "") {
			t.Errorf("%s: %s, %v; want %s", test.name, text(got), err, test.want)
		}
	}
}
