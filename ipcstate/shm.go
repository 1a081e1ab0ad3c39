package ipcstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Bits of a segment's mode that are not permissions (Linux include/linux/shm.h).
const (
	modeDest   = 0o1000 // IPC_RMID has been called; it goes with the last attachment
	modeLocked = 0o2000
)

// segments records the segments that the tree has attached, and those that it
// may want to attach. Their content comes by way of the memory objects.
func (c *capture) segments(objects []found) error {
	for _, o := range objects {
		c.listed[o.id] = true
		rec := Segment{Perm: o.perm(o.id), Size: o.u64(48), Maker: o.pid(80), Last: o.pid(84)}
		attached := c.Attached[o.id].Mappings
		s := signs{used: attached > 0, by: []task.ID{rec.Maker, rec.Last}, at: latest(o.u64(56), o.u64(64), o.u64(72))}
		if mine, _ := c.belongs(&segments, &rec.Perm, s); !mine {
			continue
		}
		if n := int(o.u64(88)); n > attached {
			c.refuse(&segments, o.id, fmt.Sprintf("it is attached %d time(s) outside the tree", n-attached), allUsers)
		}
		if rec.Perm.Mode&modeDest != 0 {
			rec.Named = c.Attached[o.id].Key
		}
		c.rec.Segments = append(c.rec.Segments, rec)
	}
	return nil
}

// makeSegments makes the segments, empty. Segments that IPC_RMID has been
// called for keep the name that their key gave them, and are there for as long
// as the builder has them attached.
func (r *Restorer) makeSegments() error {
	for i := range r.state.Segments {
		s := &r.state.Segments[i]
		like := object{maker: s.Maker, users: func(st stat) ([]task.ID, bool) {
			return []task.ID{st.pid(80), st.pid(84)}, st.u64(88) > 0
		}}
		if s.Perm.Mode&modeDest == 0 {
			if err := r.make(&segments, &s.Perm, like, s.Perm.Key, s.Size); err != nil {
				return err
			}
			continue
		}
		err := r.make(&segments, &s.Perm, like, s.Named, s.Size)
		if errors.Is(err, errKeyTaken) { // the name is all that is lost
			err = r.make(&segments, &s.Perm, like, 0, s.Size)
		}
		if err != nil {
			return err
		}
		if err := r.doom(s); err != nil {
			return err
		}
	}
	return nil
}

// doom removes a segment that the builder has attached. Stand-ins, which it
// forks, are not to inherit the attachment: they would detach it when they end.
func (r *Restorer) doom(s *Segment) error {
	var b task.Batch
	at := b.Add(unix.SYS_SHMAT, s.Perm.ID, 0, 0)
	segments.add(&b, s.Perm.ID, ipcRmid, 0)
	err := r.Builder.Run(&b)
	if err == nil {
		r.doomed = append(r.doomed, task.Addr(at.Ret))
		_, err = r.Builder.Call(unix.SYS_MADVISE, at.Ret, s.Size, unix.MADV_DONTFORK)
	}
	if err != nil {
		return segments.fault(&s.Perm, err)
	}
	return nil
}

// finishSegments gives segments their owners and modes.
func (r *Restorer) finishSegments() error {
	for i := range r.state.Segments {
		s := &r.state.Segments[i]
		var b task.Batch
		segments.add(&b, s.Perm.ID, ipcSet, []byte(segments.setting(&s.Perm)))
		if s.Perm.Mode&modeLocked != 0 {
			segments.add(&b, s.Perm.ID, shmLock, 0)
		}
		if err := r.Builder.Run(&b); err != nil {
			return segments.fault(&s.Perm, err)
		}
	}
	var b task.Batch
	for _, at := range r.doomed {
		b.Add(unix.SYS_SHMDT, at)
	}
	if err := r.Builder.Run(&b); err != nil {
		return err
	}
	for i := range r.state.Segments {
		if s := &r.state.Segments[i]; s.Last != 0 {
			if err := r.attachOnce(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// attachOnce makes who attached or detached a segment last do it once more.
func (r *Restorer) attachOnce(s *Segment) error {
	p, err := r.Author(s.Last)
	if err != nil {
		return err
	}
	at, err := p.Call(unix.SYS_SHMAT, s.Perm.ID, 0, unix.SHM_RDONLY)
	if err == nil {
		_, err = p.Call(unix.SYS_SHMDT, at)
	}
	if err != nil {
		return segments.fault(&s.Perm, err)
	}
	return nil
}
