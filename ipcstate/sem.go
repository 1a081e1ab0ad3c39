package ipcstate

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Limits of a semaphore's value and of an adjustment (Linux
// include/uapi/linux/sem.h, SEMVMX and SEMAEM).
const (
	maxValue  = 32767
	minAdjust = -32768
)

// arrays records the semaphore arrays of the tree, and what its processes
// have to undo in them.
func (c *capture) arrays(objects []found) error {
	undos, err := c.undos(objects)
	if err != nil {
		return err
	}
	c.rec.Undos = undos
	for _, o := range objects {
		rec, waiters, err := c.array(&o)
		denied := errors.Is(err, unix.EACCES)
		if isGone(err) {
			continue
		}
		if err != nil && !denied {
			return err
		}
		s := signs{
			used: c.waits(o.id, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP), waiters: waiters,
			at: latest(o.u64(48), o.u64(64)), made: stamp(o.u64(64)),
		}
		for _, u := range undos {
			s.used = s.used || u.Array == o.id
		}
		for _, sem := range rec.Semaphores {
			s.by = append(s.by, sem.Last)
		}
		var mine bool
		if mine, rec.Loose = c.belongs(&arrays, &rec.Perm, s); !mine {
			continue
		}
		if denied && rec.Loose {
			continue // a user of the tree has hidden it from the tree: it is somebody else's
		}
		if denied {
			c.refuse(&arrays, o.id, "no process of the tree may read it", "give its owner the right to read it")
		}
		c.rec.Arrays = append(c.rec.Arrays, *rec)
	}
	return nil
}

// array reads one array, and how many threads wait for its semaphores. None of
// them is the tree's, whose threads have all left their calls for the moment.
func (c *capture) array(o *found) (rec *Array, waiters int, err error) {
	rec = &Array{Perm: o.perm(o.id), Semaphores: make([]Semaphore, o.u64(80)), Operated: o.u64(48) != 0}
	values := make([]byte, 2*len(rec.Semaphores))
	var pids, waits []*task.Call
	err = c.asAny(func() *task.Batch {
		var b task.Batch
		b.Add(unix.SYS_SEMCTL, o.id, 0, semGetAll, values)
		pids, waits = addUsers(&b, o.id, len(rec.Semaphores))
		return &b
	})
	if err != nil {
		return rec, 0, err
	}
	for i := range rec.Semaphores {
		rec.Semaphores[i] = Semaphore{Value: int(binary.LittleEndian.Uint16(values[2*i:])), Last: task.ID(pids[i].Ret)}
	}
	return rec, sum(waits), nil
}

// addUsers queues the calls that tell who changed each semaphore last, and how
// many wait for it.
func addUsers(b *task.Batch, id, n int) (pids, waits []*task.Call) {
	for i := range n {
		pids = append(pids, b.Add(unix.SYS_SEMCTL, id, i, semGetPID))
		waits = append(waits, b.Add(unix.SYS_SEMCTL, id, i, semGetNCnt), b.Add(unix.SYS_SEMCTL, id, i, semGetZCnt))
	}
	return pids, waits
}

func sum(calls []*task.Call) (n int) {
	for _, c := range calls {
		n += int(c.Ret)
	}
	return n
}

// makeArrays makes the arrays and sets values. A semaphore that nobody has
// changed is left alone, so that it has no last process.
func (r *Restorer) makeArrays() error {
	for i := range r.state.Arrays {
		a := &r.state.Arrays[i]
		like := object{loose: a.Loose, users: a.users(r.Builder)}
		if err := r.make(&arrays, &a.Perm, like, a.Perm.Key, len(a.Semaphores)); err != nil {
			return err
		}
		if r.kept[&a.Perm] {
			continue
		}
		for n, sem := range a.Semaphores {
			if sem.Value == 0 && sem.Last == 0 {
				continue
			}
			if err := r.setValue(a, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Restorer) setValue(a *Array, n int) error {
	p, err := r.Author(a.Semaphores[n].Last)
	if err == nil {
		_, err = p.Call(unix.SYS_SEMCTL, a.Perm.ID, n, semSetVal, a.Semaphores[n].Value)
	}
	if err != nil {
		return arrays.fault(&a.Perm, err)
	}
	return nil
}

// users tells who has used an array that is there, and whether anybody waits.
func (a *Array) users(p *task.Process) func(stat) ([]task.ID, bool) {
	return func(st stat) (ids []task.ID, busy bool) {
		var b task.Batch
		pids, waits := addUsers(&b, a.Perm.ID, int(st.u64(80)))
		if p.Run(&b) != nil {
			return nil, true
		}
		for _, c := range pids {
			ids = append(ids, task.ID(c.Ret))
		}
		return ids, sum(waits) > 0
	}
}

// finishArrays makes those who changed a semaphore last do it once more, for
// what others had to undo has been set since, and gives arrays their owners
// and modes.
func (r *Restorer) finishArrays() error {
	for i := range r.state.Arrays {
		a := &r.state.Arrays[i]
		if r.kept[&a.Perm] {
			continue
		}
		for n := range a.Semaphores {
			if a.Operated && a.Semaphores[n].touched() {
				if err := r.touch(a, n); err != nil {
					return err
				}
			}
		}
		var b task.Batch
		arrays.add(&b, a.Perm.ID, ipcSet, []byte(arrays.setting(&a.Perm)))
		if err := r.Builder.Run(&b); err != nil {
			return arrays.fault(&a.Perm, err)
		}
	}
	return nil
}

func (s *Semaphore) touched() bool { return s.Last != 0 || s.Value != 0 }

// touch changes a semaphore by nothing. SETVAL would clear what processes
// have to undo (Linux ipc/sem.c:semctl_setval, v6.18).
func (r *Restorer) touch(a *Array, n int) error {
	p, err := r.Author(a.Semaphores[n].Last)
	if err == nil {
		_, err = p.Call(unix.SYS_SEMOP, a.Perm.ID, nothing(n, a.Semaphores[n].Value), 2)
	}
	if err != nil {
		return arrays.fault(&a.Perm, err)
	}
	return nil
}
