package memstate

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/memimg"
)

// ObjectRestorer makes the memory objects of a tree anew in the builder, from
// which every process inherits them: as descriptors, or, for shared anonymous
// memory, as master mappings that are duplicated into place by mremap(2)
// with an old size of 0.
type ObjectRestorer struct {
	objects  []Object
	masters  map[uint32]task.Addr
	fds      map[uint32]int
	segments map[uint32]*Object
	saved    map[uint32]*savedFile
	base     task.Addr // of all master mappings
	attach   task.Addr // where segments are attached for a moment
	end      task.Addr
	huge     map[uint32]task.Addr // where objects of huge pages are filled
}

// NewObjectRestorer plans the objects. Master mappings go to free addresses
// from base up.
func NewObjectRestorer(objects []Object, base task.Addr) *ObjectRestorer {
	r := &ObjectRestorer{
		objects: objects, base: base, end: base,
		masters: map[uint32]task.Addr{}, fds: map[uint32]int{}, saved: map[uint32]*savedFile{}, segments: map[uint32]*Object{},
	}
	for i := range objects {
		if o := &objects[i]; o.Kind == SharedAnonymous {
			r.masters[o.ID] = r.end
			r.end += task.Addr(pageUp(uint64(o.Size)))
		}
	}
	r.attach = r.end
	for i := range objects {
		if o := &objects[i]; o.Kind == Segment {
			r.segments[o.ID] = o
			r.end = max(r.end, r.attach+task.Addr(pageUp(uint64(o.Size))))
		}
	}
	r.planHuge()
	return r
}

// FD is the number under which the builder and its descendants have an object.
func (r *ObjectRestorer) FD(id uint32) int { return r.fds[id] }

// anonymous tells whether an object is a master mapping or a segment: nothing
// to be opened.
func (r *ObjectRestorer) anonymous(id uint32) bool {
	_, is := r.masters[id]
	return is || r.segments[id] != nil
}

// Create makes the objects, empty. reserve hands out descriptor numbers.
func (r *ObjectRestorer) Create(builder *task.Process, reserve func() int) error {
	for i := range r.objects {
		o := &r.objects[i]
		var err error
		switch o.Kind {
		case SharedAnonymous:
			err = r.createMaster(builder, o)
		case Segment: // made when there are processes
		default:
			err = r.createFile(builder, o, reserve())
		}
		if err != nil {
			return fmt.Errorf("memory object %s: %w", o.Name, err)
		}
	}
	return nil
}

func (r *ObjectRestorer) createMaster(builder *task.Process, o *Object) error {
	flags := unix.MAP_SHARED | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	if o.NoReserve {
		flags |= unix.MAP_NORESERVE
	}
	_, err := builder.Call(unix.SYS_MMAP, r.masters[o.ID], pageUp(uint64(o.Size)), unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0)
	return err
}

func (r *ObjectRestorer) createFile(builder *task.Process, o *Object, number int) error {
	fd, temp, err := o.open(builder)
	if err != nil {
		return err
	}
	if temp != "" {
		r.saved[o.ID] = &savedFile{name: o.Name, temp: temp}
	}
	var b task.Batch
	b.Add(unix.SYS_DUP3, fd, number, unix.O_CLOEXEC)
	b.Add(unix.SYS_CLOSE, fd)
	b.Add(unix.SYS_FTRUNCATE, number, o.Size)
	r.fds[o.ID] = number
	if err := builder.Run(&b); err != nil {
		return err
	}
	return r.mapHuge(builder, o)
}

// open makes the object, empty. A saved file has another name for now, temp.
func (o *Object) open(builder *task.Process) (fd int64, temp string, err error) {
	switch o.Kind {
	case Memfd:
		fd, err = o.openMemfd(builder)
		return fd, "", err
	case SavedFile:
		return o.openSaved(builder)
	}
	if fd, err = o.openUnlinked(builder, o.Name); err != nil {
		// Its directory is gone, or the name is taken again: any place will do.
		fd, err = o.openUnlinked(builder, fmt.Sprintf("/tmp/%s.%d", filepath.Base(o.Name), builder.PID))
	}
	if err != nil && (o.Exec || o.Program) {
		fd, err = o.openMemfd(builder)
	}
	return fd, "", err
}

func (o *Object) openMemfd(builder *task.Process) (int64, error) {
	flags := unix.MFD_ALLOW_SEALING | unix.MFD_CLOEXEC
	if o.Huge != 0 {
		flags |= unix.MFD_HUGETLB | int(o.Huge)<<hugeShift
	}
	fd, err := builder.Call(unix.SYS_MEMFD_CREATE, o.memfdName(), flags)
	if err != nil && o.Huge != 0 {
		return 0, hugeProblem("memory", err)
	}
	return fd, err
}

// memfdName is for a memfd that stands in for a file, too.
func (o *Object) memfdName() string {
	if o.Kind == Memfd {
		return o.Name
	}
	return filepath.Base(o.Name)
}

func (o *Object) openUnlinked(builder *task.Process, path string) (int64, error) {
	var b task.Batch
	fd := b.Add(unix.SYS_OPEN, path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600).Optional()
	if err := builder.Run(&b); err != nil {
		return 0, err
	}
	if err := fd.Err(); err != nil {
		return 0, fmt.Errorf("create %s: %w", path, err)
	}
	if _, err := builder.Call(unix.SYS_UNLINK, path); err != nil {
		return 0, err
	}
	if o.Exec || o.Program {
		return o.mayRun(builder, fd.Ret)
	}
	return fd.Ret, nil
}

// mayRun closes a file that lies where no code may be mapped.
func (o *Object) mayRun(builder *task.Process, fd int64) (int64, error) {
	const size, flags, noexec = 120, 80, 8 // struct statfs, its f_flags, ST_NOEXEC (man 2 statfs)
	buf := make([]byte, size)
	if _, err := builder.Call(unix.SYS_FSTATFS, fd, buf); err != nil {
		return 0, err
	}
	if buf[flags]&noexec == 0 {
		return fd, nil
	}
	if _, err := builder.Call(unix.SYS_CLOSE, fd); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("map code: mounted noexec: %w", unix.EACCES)
}

// Fill fills the objects with their content.
func (r *ObjectRestorer) Fill(builder *task.Process, im *memimg.Image, progress func(int64)) error {
	pidfd, err := unix.PidfdOpen(int(builder.PID), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open %d: %w", builder.PID, err)
	}
	defer unix.Close(pidfd)
	var fills []memimg.Fill
	for i := range r.objects {
		o := &r.objects[i]
		if o.Kind == SharedAnonymous {
			fills = append(fills, memimg.Fill{Space: o.Space, Sink: offsetSink{Sink(builder.PID), uint64(r.masters[o.ID])}})
			continue
		}
		if at, ok := r.huge[o.ID]; ok {
			fills = append(fills, memimg.Fill{Space: o.Space, Sink: offsetSink{Sink(builder.PID), uint64(at)}})
			continue
		}
		if o.Kind == Segment {
			continue // FillSegments
		}
		fd, err := unix.PidfdGetfd(pidfd, r.fds[o.ID], 0)
		if err != nil {
			return fmt.Errorf("pidfd_getfd %d of %d: %w", r.fds[o.ID], builder.PID, err)
		}
		defer unix.Close(fd)
		fills = append(fills, memimg.Fill{Space: o.Space, Sink: fileSink{fd, o.Size}})
	}
	if err := im.ReadPages(fills, progress); err != nil {
		return err
	}
	if err := r.unmapHuge(builder); err != nil {
		return err
	}
	if err := r.closeToWriting(builder); err != nil {
		return err
	}
	return r.seal(builder)
}

// closeToWriting makes programs what they must be: executable, and with nobody who
// could write to it, or the kernel refuses the exe link (Linux
// kernel/fork.c:replace_mm_exe_file, v6.18).
func (r *ObjectRestorer) closeToWriting(builder *task.Process) error {
	for i := range r.objects {
		o := &r.objects[i]
		if !o.Program {
			continue
		}
		var b task.Batch
		number := r.fds[o.ID]
		b.Add(unix.SYS_FCHMOD, number, o.Mode|0o500)
		fd := b.Add(unix.SYS_OPEN, fmt.Sprintf("/proc/self/fd/%d", number), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err := builder.Run(&b); err != nil {
			return fmt.Errorf("memory object %s: %w", o.Name, err)
		}
		b = task.Batch{}
		b.Add(unix.SYS_DUP3, fd.Ret, number, unix.O_CLOEXEC)
		b.Add(unix.SYS_CLOSE, fd.Ret)
		if err := builder.Run(&b); err != nil {
			return fmt.Errorf("memory object %s: %w", o.Name, err)
		}
	}
	return nil
}

// lateSeals forbid what is still to come: mappings, other seals, and the mode.
const lateSeals = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL | unix.F_SEAL_EXEC

// seal adds seals once the content is there (man 2 fcntl, F_ADD_SEALS).
func (r *ObjectRestorer) seal(builder *task.Process) error {
	var b task.Batch
	for i := range r.objects {
		if o := &r.objects[i]; o.Kind == Memfd && o.Seals&^lateSeals != 0 {
			b.Add(unix.SYS_FCNTL, r.fds[o.ID], unix.F_ADD_SEALS, o.Seals&^lateSeals)
		}
	}
	return builder.Run(&b)
}

// Finish does what would have kept processes from mapping and opening the
// objects: modes, and the late seals.
func (r *ObjectRestorer) Finish(builder *task.Process) error {
	var b task.Batch
	for i := range r.objects {
		o := &r.objects[i]
		if o.Kind == UnlinkedFile || o.Kind == Memfd {
			b.Add(unix.SYS_FCHMOD, r.fds[o.ID], o.Mode)
		}
		if o.Kind == Memfd && o.Seals&lateSeals != 0 {
			b.Add(unix.SYS_FCNTL, r.fds[o.ID], unix.F_ADD_SEALS, o.Seals)
		}
	}
	return builder.Run(&b)
}

// addMap maps a part of an object into a process.
func (r *ObjectRestorer) addMap(b *task.Batch, v *VMA, fd int) {
	if o := r.segments[v.Object]; o != nil {
		r.addSegment(b, v, o)
		return
	}
	master, anonymous := r.masters[v.Object]
	if !anonymous {
		v.addMmap(b, fd, v.Offset)
		return
	}
	b.Add(unix.SYS_MREMAP, master+task.Addr(v.Offset), 0, v.Len(), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, v.Start)
	b.Add(unix.SYS_MPROTECT, v.Start, v.Len(), v.Prot)
}

// addUnmap removes the master mappings from a process.
func (r *ObjectRestorer) addUnmap(b *task.Batch) {
	if r.end > r.base {
		b.Add(unix.SYS_MUNMAP, r.base, r.end-r.base)
	}
}

// offsetSink puts an object's pages into its master mapping.
type offsetSink struct {
	memimg.Sink
	base uint64
}

func (s offsetSink) WritePages(addr uint64, data []byte) error {
	return s.Sink.WritePages(s.base+addr, data)
}

// fileSink writes an object's pages to a descriptor, up to the object's size.
type fileSink struct {
	fd   int
	size int64
}

func (s fileSink) WritePages(addr uint64, data []byte) error {
	data = data[:min(int64(len(data)), s.size-int64(addr))]
	for off := int64(addr); len(data) > 0; {
		n, err := unix.Pwrite(s.fd, data, off)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}
