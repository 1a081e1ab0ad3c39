package memstate

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/memimg"
)

// System V shared memory: the segments themselves are ipcstate's, their
// content and their mappings are memory like any other.

// isSegment tells whether a mapping is of a segment: the kernel names its file
// after the key, and gives the inode the number of the segment (Linux
// ipc/shm.c:newseg, v6.18).
func isSegment(v *procfs.VMA) bool {
	return v.Deleted && v.Shared && strings.HasPrefix(v.Path, "/SYSV")
}

func segmentKey(id int) inode { return inode{ino: uint64(id), segment: true} }

// Attachment is what mappings tell of a segment.
type Attachment struct {
	Mappings int
	Key      int32 // which the segment had when it was made
}

// addAttachment counts a mapping of a segment.
func (o *Objects) addAttachment(v *procfs.VMA) {
	if o.attached == nil {
		o.attached = map[int]Attachment{}
	}
	key, _ := strconv.ParseUint(strings.TrimPrefix(v.Path, "/SYSV"), 16, 32)
	n := o.attached[int(v.Ino)].Mappings + 1
	o.attached[int(v.Ino)] = Attachment{Mappings: n, Key: int32(uint32(key))}
}

// Attached tells of each segment that is mapped, by its id.
func (o *Objects) Attached() map[int]Attachment { return o.attached }

// Segment tells the size of a segment, which may be attached or not. What
// cannot be seen of it is shown by one attachment more, to p.
func (o *Objects) Segment(id int, size uint64, p *task.Process) (object uint32, err error) {
	obj, fresh := o.get(segmentKey(id))
	if fresh {
		obj.Kind, obj.Segment = Segment, id
	}
	obj.Size = int64(size)
	if obj.file != nil || obj.shows(size) {
		return obj.ID, nil
	}
	at, err := p.AttachBehind(id, size)
	if err == nil {
		obj.swapped = true // or not; its pages say nothing of that
		obj.views = append(obj.views, view{held: p, start: uint64(at), end: uint64(at) + pageUp(size)})
	}
	return obj.ID, err
}

// shows tells whether all of an object can be seen.
func (obj *liveObject) shows(size uint64) bool {
	var seen []memimg.Range
	for _, v := range obj.views {
		seen = append(seen, memimg.Range{Start: v.offset, End: v.offset + v.end - v.start})
	}
	all := union(seen)
	return len(all) == 1 && all[0].Start == 0 && all[0].End >= pageUp(size)
}

// FillSegments fills the segments, which exist by now.
func (r *ObjectRestorer) FillSegments(builder *task.Process, im *memimg.Image, progress func(int64)) error {
	for i := range r.objects {
		o := &r.objects[i]
		if o.Kind != Segment {
			continue
		}
		if err := r.fillSegment(builder, o, im, progress); err != nil {
			return fmt.Errorf("memory of System V segment %d: %w", o.Segment, err)
		}
	}
	return nil
}

func (r *ObjectRestorer) fillSegment(builder *task.Process, o *Object, im *memimg.Image, progress func(int64)) error {
	if _, err := builder.Call(unix.SYS_SHMAT, o.Segment, r.attach, 0); err != nil {
		return err
	}
	fill := memimg.Fill{Space: o.Space, Sink: offsetSink{Sink(builder.PID), uint64(r.attach)}}
	if err := im.ReadPages([]memimg.Fill{fill}, progress); err != nil {
		return err
	}
	_, err := builder.Call(unix.SYS_SHMDT, r.attach)
	return err
}

// addSegment maps a part of a segment: shmat(2) only ever maps the whole of
// it, so the part is moved into place and the rest is unmapped. Each mapping
// of a program's counts as one attachment then, as it did.
func (r *ObjectRestorer) addSegment(b *task.Batch, v *VMA, o *Object) {
	flags := 0
	if !v.Write {
		flags = unix.SHM_RDONLY
	}
	b.Add(unix.SYS_SHMAT, o.Segment, r.attach, flags)
	b.Add(unix.SYS_MREMAP, r.attach+task.Addr(v.Offset), v.Len(), v.Len(), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, v.Start)
	b.Add(unix.SYS_MUNMAP, r.attach, pageUp(uint64(o.Size)))
	b.Add(unix.SYS_MPROTECT, v.Start, v.Len(), v.Prot)
}
