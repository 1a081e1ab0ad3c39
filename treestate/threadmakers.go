package treestate

import (
	"errors"
	"slices"

	"supervise/taskstate"
)

// errThreadMaker is what ThreadMakers says of such a thread.
var errThreadMaker = errors.New("shares things with threads that no thread has together")

// ThreadMakers tells for each thread of a process but the first, by index,
// which of the earlier ones makes it: one that has all that it shares.
func ThreadMakers(threads []taskstate.Thread) ([]int, error) {
	makers := make([]int, len(threads))
	if threads[0].Left != (taskstate.Sharing{}) {
		return nil, &SharingError{threads[0].ID, errThreadMaker}
	}
	for i := range threads[1:] {
		th := &threads[i+1]
		makers[i+1] = slices.IndexFunc(threads[:i+1], func(m taskstate.Thread) bool { return givesThread(&m, th) })
		if makers[i+1] < 0 {
			return nil, &SharingError{th.ID, errThreadMaker}
		}
	}
	return makers, nil
}

// givesThread tells whether maker has all that th does not have for itself.
func givesThread(maker, th *taskstate.Thread) bool {
	for _, sh := range taskstate.Shareable {
		want := *sh.Of(&th.Left)
		if want != th.ID && want != *sh.Of(&maker.Left) || want != 0 && sh.Flag&taskstate.Leavable == 0 {
			return false
		}
	}
	return true
}
