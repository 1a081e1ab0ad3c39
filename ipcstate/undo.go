package ipcstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/refuse"
	"supervise/internal/task"
)

// What a process has to undo at its death (SEM_UNDO) cannot be read. But it
// can be measured: a semop(2) whose adjustment would leave the range of a
// short fails with ERANGE, and one whose last operation cannot be done fails
// with EAGAIN. All operations of one call are done together or not at all,
// with the array locked (Linux ipc/sem.c:perform_atomic_semop_slow, v6.18),
// so that a call which is bound to fail tells how far an adjustment is from
// the end of the range, and changes nothing.
//
// One trace remains: the kernel makes the process an empty list for the array
// if it had none, and then sets sem_otime when it exits. Only arrays that
// have been operated on since the tree began are measured, and only processes
// that can have anything to undo.

const (
	semUndo   = 0x1000
	ipcNoWait = 0o4000
)

// op is struct sembuf.
func op(num, by, flags int) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(num))
	b = binary.LittleEndian.AppendUint16(b, uint16(by))
	return binary.LittleEndian.AppendUint16(b, uint16(flags|ipcNoWait))
}

const opSize = 6

// change is an operation that is not undone, or none: one by 0 waits for zero.
func change(num, by int) []byte {
	if by == 0 {
		return nil
	}
	return op(num, by, 0)
}

// impossible ends a probe: after it has been raised, no semaphore is zero.
func impossible(num int) []byte { return append(op(num, 1, 0), op(num, 0, 0)...) }

// isZero gives operations that fail with ERANGE unless the adjustment of a
// semaphore with the given value is zero. The semaphore is 1 after them.
func isZero(num, value int) []byte {
	return slices.Concat(
		change(num, maxValue-value), op(num, -maxValue, semUndo), op(num, maxValue, semUndo), // not above zero
		op(num, -maxValue, 0), op(num, maxValue, semUndo), op(num, -maxValue, 0), op(num, 1, semUndo)) // not below
}

// atLeast gives operations that fail with ERANGE unless the adjustment of a
// semaphore with the given value is at least n. The semaphore is 0 after them.
func atLeast(num, value, n int) []byte {
	b := change(num, -value)
	for down := n - minAdjust; down > 0; {
		by := min(down, maxValue)
		b = append(b, append(op(num, by, semUndo), op(num, -by, 0)...)...)
		down -= by
	}
	return b
}

// undoer is a thread with a list of adjustments.
type undoer struct {
	proc   int
	thread *task.Thread
	shared bool // with another process
	alone  bool // not with its process's leader
}

// undos measures what the tree's processes have to undo.
func (c *capture) undos(objects []found) ([]Undo, error) {
	candidates := slices.DeleteFunc(slices.Clone(objects), func(o found) bool {
		return o.u64(48) == 0 || stamp(o.u64(48)).Before(c.Begun.Truncate(time.Second))
	})
	if len(candidates) == 0 {
		return nil, nil
	}
	undoers, err := c.undoers()
	if err != nil {
		return nil, err
	}
	var all []Undo
	for _, u := range undoers {
		for i := range candidates {
			adjustments, err := c.measure(u.thread, &candidates[i])
			if isGone(err) || errors.Is(err, unix.EACCES) {
				continue // not an array of the tree
			}
			if err != nil {
				return nil, fmt.Errorf("array %d, process %d: %w", candidates[i].id, u.thread.Proc.ID, err)
			}
			if len(adjustments) == 0 {
				continue
			}
			if u.shared || u.alone {
				c.refuseUndo(u, candidates[i].id)
			}
			all = append(all, Undo{Process: u.thread.Proc.ID, Array: candidates[i].id, Adjustments: adjustments})
		}
	}
	return all, nil
}

func (c *capture) refuseUndo(u undoer, id int) {
	why := "another process shares what it has to undo (CLONE_SYSVSEM)"
	if u.alone {
		why = fmt.Sprintf("thread %d has something to undo that its process has not", u.thread.TID)
	}
	p := &c.Procs[u.proc]
	c.Refused.Add(refuse.Object{PID: int(p.Held.PID), Comm: p.Comm, What: fmt.Sprintf("%s %d", arrays.what, id), Why: why})
}

// undoers finds one thread for each list of adjustments. A task has none until
// it needs one, or makes a thread; and neither has our own thread after
// unshare(2), with which the others are compared (Linux
// ipc/sem.c:copy_semundo, kernel/fork.c:ksys_unshare, v6.18).
func (c *capture) undoers() ([]undoer, error) {
	if err := unix.Unshare(unix.CLONE_SYSVSEM); err != nil {
		return nil, fmt.Errorf("unshare CLONE_SYSVSEM: %w", err)
	}
	none := task.TID(unix.Gettid())
	var all []undoer
	for i, p := range c.Procs {
		for n, t := range p.Held.Threads {
			order, err := kcmp(t.TID, none)
			if err != nil {
				return nil, err
			}
			if order != 0 {
				all = append(all, undoer{proc: i, thread: t, alone: n > 0})
			}
		}
	}
	return group(all)
}

// group keeps the first thread of each list.
func group(all []undoer) ([]undoer, error) {
	var failed error
	compare := func(a, b undoer) int {
		order, err := kcmp(a.thread.TID, b.thread.TID)
		failed = errors.Join(failed, err)
		return order
	}
	slices.SortStableFunc(all, compare)
	var kept []undoer
	for _, u := range all {
		if n := len(kept); n > 0 && compare(kept[n-1], u) == 0 {
			kept[n-1].shared = kept[n-1].shared || kept[n-1].proc != u.proc
			continue
		}
		kept = append(kept, u)
	}
	slices.SortFunc(kept, func(a, b undoer) int { return a.proc - b.proc })
	return kept, failed
}

// measure finds the adjustments of one list for one array.
func (c *capture) measure(t *task.Thread, o *found) ([]Adjustment, error) {
	n := int(o.u64(80))
	const tries = 5 // others may use the array meanwhile
	for range tries {
		before := make([]byte, 2*n)
		if err := c.mayChange(t, o.id, before); err != nil {
			return nil, err
		}
		adjustments, err := c.measureAt(t, o.id, before)
		if err != nil {
			return nil, err
		}
		after := make([]byte, 2*n)
		if _, err := t.Call(unix.SYS_SEMCTL, o.id, 0, semGetAll, after); err != nil {
			return nil, err
		}
		if bytes.Equal(before, after) {
			return adjustments, nil
		}
	}
	return nil, errors.New("others keep changing it")
}

// mayChange reads the values, and makes sure of the right to change them by an
// operation that cannot be done.
func (c *capture) mayChange(t *task.Thread, id int, values []byte) error {
	var b task.Batch
	b.Add(unix.SYS_SEMCTL, id, 0, semGetAll, values)
	probe := b.Add(unix.SYS_SEMOP, id, impossible(0), 2).Optional()
	if err := t.Run(&b); err != nil {
		return err
	}
	if err := probe.Err(); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ERANGE) {
		return err
	}
	return nil
}

// measureAt measures with known values: first which adjustments are not zero,
// several at a time, then each of these.
func (c *capture) measureAt(t *task.Thread, id int, values []byte) ([]Adjustment, error) {
	const atOnce = 4 // fewer operations than any sensible limit (kernel.sem, SEMOPM)
	n := len(values) / 2
	value := func(i int) int { return int(binary.LittleEndian.Uint16(values[2*i:])) }
	var b task.Batch
	var probes []*task.Call
	for i := 0; i < n; i += atOnce {
		var ops []byte
		for k := i; k < min(i+atOnce, n); k++ {
			ops = append(ops, isZero(k, value(k))...)
		}
		ops = append(ops, impossible(i)...)
		probes = append(probes, b.Add(unix.SYS_SEMOP, id, ops, len(ops)/opSize).Optional())
	}
	if err := t.Run(&b); err != nil {
		return nil, err
	}
	var found []Adjustment
	for at, p := range probes {
		inRange, err := verdict(p)
		if err != nil {
			return nil, err
		}
		for k := at * atOnce; !inRange && k < min(at*atOnce+atOnce, n); k++ {
			by, err := narrow(t, id, k, value(k))
			if err != nil {
				return nil, err
			}
			if by != 0 {
				found = append(found, Adjustment{Num: k, By: by})
			}
		}
	}
	return found, nil
}

// narrow finds one adjustment, by asking about many parts of the range at a time.
func narrow(t *task.Thread, id, num, value int) (int, error) {
	const parts = 16
	low, high := minAdjust, maxValue
	for low < high {
		step := (high - low + parts - 1) / parts
		var b task.Batch
		var probes []*task.Call
		for n := low + step; n <= high; n += step {
			ops := append(atLeast(num, value, n), impossible(num)...)
			probes = append(probes, b.Add(unix.SYS_SEMOP, id, ops, len(ops)/opSize).Optional())
		}
		if err := t.Run(&b); err != nil {
			return 0, err
		}
		for _, p := range probes {
			enough, err := verdict(p)
			if err != nil {
				return 0, err
			}
			if !enough {
				high = low + step - 1
				break
			}
			low += step
		}
	}
	return low, nil
}

// verdict tells whether all adjustments of a probe were in range.
func verdict(probe *task.Call) (bool, error) {
	switch err := probe.Err(); {
	case errors.Is(err, unix.EAGAIN):
		return true, nil
	case errors.Is(err, unix.ERANGE):
		return false, nil
	default:
		return false, fmt.Errorf("measure by semop: %w", err)
	}
}

// Undo gives a process what it had to undo: by an operation that is undone,
// and one back that is not.
//
// Preconditions:
//   - The arrays have their values; setting one would clear it again.
//   - The process has no threads yet, but none besides its own list either.
func (r *Restorer) Undo(p *task.Process) error {
	if r == nil {
		return nil
	}
	var b task.Batch
	for i := range r.state.Undos {
		u := &r.state.Undos[i]
		if u.Process != p.ID {
			continue
		}
		a := r.array(u.Array)
		for _, adj := range u.Adjustments {
			for _, ops := range adjust(adj, a.Semaphores[adj.Num].Value) {
				b.Add(unix.SYS_SEMOP, u.Array, ops, len(ops)/opSize)
			}
		}
	}
	if err := p.Run(&b); err != nil {
		return fmt.Errorf("what process %d has to undo: %w", p.ID, err)
	}
	return nil
}

// adjust gives pairs of operations that add up to an adjustment and leave a
// semaphore at its value.
func adjust(a Adjustment, value int) [][]byte {
	var pairs [][]byte
	for left := a.By; left != 0; {
		by := max(min(left, maxValue/2), -maxValue/2)
		undone, back := op(a.Num, -by, semUndo), op(a.Num, by, 0)
		// Whichever goes in the direction where there is room comes first.
		if (by > 0) == (value > maxValue/2) {
			pairs = append(pairs, append(undone, back...))
		} else {
			pairs = append(pairs, append(back, undone...))
		}
		left -= by
	}
	return pairs
}

// nothing gives a pair of operations that come to nothing.
func nothing(num, value int) []byte {
	by := 1
	if value > maxValue/2 {
		by = -1
	}
	return append(op(num, by, 0), op(num, -by, 0)...)
}
