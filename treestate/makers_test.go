package treestate

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

func TestMakers(t *testing.T) {
	const chld = int(unix.SIGCHLD)
	proc := func(id, parent, session task.ID, s taskstate.Sharing) *taskstate.Process {
		return &taskstate.Process{ID: id, Parent: parent, Session: session, ExitSignal: chld, Shares: s}
	}
	none := taskstate.Sharing{}
	files := func(id task.ID) taskstate.Sharing { return taskstate.Sharing{Files: id} }
	other := proc(3, 1, 1, files(2))
	other.ExitSignal = 0
	for _, test := range []struct {
		name  string
		procs []*taskstate.Process
		want  []task.ID // nil: none
	}{
		{"nothing shared", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, none)}, []task.ID{0, 1}},
		{"with the parent", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, files(1))}, []task.ID{0, 1}},
		{"with a grandparent", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, files(1)), proc(3, 2, 1, files(1))}, []task.ID{0, 1, 2}},
		{"past the parent", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, none), proc(3, 2, 1, files(1))}, nil},
		{"with a sibling", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, none), proc(3, 1, 1, files(2))}, []task.ID{0, 1, 2}},
		{"a sibling with another exit signal", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, none), other}, nil},
		{"a sibling in another session", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 9, none), proc(3, 1, 8, files(2))}, nil},
		{"a sibling that began a session later", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 2, none), proc(3, 1, 1, files(2))}, []task.ID{0, 1, 2}},
		{"things of two", []*taskstate.Process{proc(1, 0, 1, none), proc(2, 1, 1, none), proc(3, 1, 1, taskstate.Sharing{Files: 1, FS: 2})}, nil},
	} {
		got, err := Makers(test.procs)
		var sharing *SharingError
		if !slices.Equal(got, test.want) || (err != nil) != errors.As(err, &sharing) || (err != nil) != (test.want == nil) {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}

func TestThreadMakers(t *testing.T) {
	thread := func(id, files, fs task.ID) taskstate.Thread {
		return taskstate.Thread{ID: id, Left: taskstate.Sharing{Files: files, FS: fs}}
	}
	plain := thread(1, 0, 0)
	for _, test := range []struct {
		name    string
		threads []taskstate.Thread
		want    []int // nil: none
	}{
		{"nothing left", []taskstate.Thread{plain, thread(2, 0, 0), thread(3, 0, 0)}, []int{0, 0, 0}},
		{"its own", []taskstate.Thread{plain, thread(2, 2, 2), thread(3, 0, 3)}, []int{0, 0, 0}},
		{"another's", []taskstate.Thread{plain, thread(2, 2, 0), thread(3, 2, 0), thread(4, 0, 0)}, []int{0, 0, 1, 0}},
		{"another's and its own", []taskstate.Thread{plain, thread(2, 2, 0), thread(3, 2, 3)}, []int{0, 0, 1}},
		{"things of two", []taskstate.Thread{plain, thread(2, 2, 0), thread(3, 0, 3), thread(4, 2, 3)}, nil},
		{"what comes later", []taskstate.Thread{plain, thread(2, 3, 0), thread(3, 3, 0)}, nil},
		{"memory", []taskstate.Thread{plain, {ID: 2, Left: taskstate.Sharing{Memory: 2}}}, nil},
		{"a first thread that has left", []taskstate.Thread{thread(1, 1, 0)}, nil},
	} {
		got, err := ThreadMakers(test.threads)
		var sharing *SharingError
		if !slices.Equal(got, test.want) || (err != nil) != errors.As(err, &sharing) || (err != nil) != (test.want == nil) {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}
