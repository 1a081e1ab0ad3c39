package treestate

import (
	"errors"
	"slices"
	"testing"

	"supervise/internal/task"
	"supervise/taskstate"
)

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
