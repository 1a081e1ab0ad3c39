package memstate

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/memimg"
)

// Surroundings are what a space is made in.
type Surroundings struct {
	Objects *ObjectRestorer
	VDSO    *Trampolines // in the place of another kernel's vDSO, or nil
	VDSOAt  task.Addr    // where this kernel's is then

	HostVVar task.Addr // as HostVVar gives it
}

// opener adds open(2) to a batch whose later calls use what is opened: new
// descriptors get the lowest numbers that are free.
type opener struct {
	used   []int // in ascending order
	lowest int
}

func newOpener(p *task.Process) (*opener, error) {
	used, err := procfs.FDs(int(p.PID))
	if err != nil {
		return nil, err
	}
	slices.Sort(used)
	return &opener{used: used}, nil
}

func (o *opener) add(b *task.Batch, path string, flags int) opened {
	for len(o.used) > 0 && o.used[0] <= o.lowest {
		o.lowest = o.used[0] + 1
		o.used = o.used[1:]
	}
	o.lowest++
	return opened{b.Add(unix.SYS_OPEN, path, flags|unix.O_CLOEXEC, 0).Optional(), path, o.lowest - 1}
}

// opened is one open, and the number that is expected of it.
type opened struct {
	*task.Call
	path   string
	number int
}

// check tells what became of it.
func (o *opened) check() error {
	switch err := o.Err(); {
	case err != nil:
		return fmt.Errorf("open %s: %w", o.path, err)
	case o.Ret != int64(o.number):
		return fmt.Errorf("open %s: came as descriptor %d, not %d", o.path, o.Ret, o.number)
	}
	return nil
}

// Map makes every mapping of the space in a bare process, empty as yet. Files
// are opened by path, once each.
func (s *Space) Map(p *task.Process, in Surroundings) error {
	if err := s.takeKeys(p); err != nil {
		return err
	}
	var b task.Batch
	s.addVDSOMap(&b, in)
	files, err := s.addOpens(&b, p, in.Objects)
	if err != nil {
		return err
	}
	for i := range s.VMAs {
		v := &s.VMAs[i]
		switch v.Kind {
		case Anonymous:
			v.addMmap(&b, -1, 0)
		case File:
			v.addMmap(&b, files[v.openKey(in.Objects)].number, v.Offset)
		case InObject:
			in.Objects.addMap(&b, v, files[v.openKey(in.Objects)].number)
		case InRing:
			continue // restoreRings
		}
		v.addAdvice(&b)
	}
	for _, f := range files {
		b.Add(unix.SYS_CLOSE, f.number)
	}
	in.Objects.addUnmap(&b)
	err = p.Run(&b)
	for _, f := range files {
		if err := f.check(); err != nil {
			return fmt.Errorf("mapped file: %w", err)
		}
	}
	if err != nil {
		err = fmt.Errorf("map memory: %w", err)
		if s.hasHuge() {
			return hugeProblem("mappings", err)
		}
		return err
	}
	if err := s.settleVDSO(p, in); err != nil {
		return err
	}
	if err := s.restoreRings(p); err != nil {
		return err
	}
	return s.bind(p)
}

// Fill says which of the image's pages belong to the process.
func (s *Space) Fill(p *task.Process) memimg.Fill {
	return memimg.Fill{Space: s.ID, Sink: Sink(p.PID)}
}

// Finish does what must wait until the pages are in place.
func (s *Space) Finish(p *task.Process, in Surroundings) error {
	var b task.Batch
	for _, g := range s.Guards {
		b.Add(unix.SYS_MADVISE, g.Start, g.End-g.Start, madvGuardInstall)
	}
	s.protect(&b)
	s.giveKeys(&b)
	s.lock(&b)
	exe, err := s.MM.restore(&b, p, in.Objects)
	if err != nil {
		return err
	}
	s.seal(&b)
	err = p.Run(&b)
	if exe != nil && exe.check() != nil {
		err = exe.check()
	}
	if err != nil {
		return fmt.Errorf("complete memory and exe %s: %w", s.MM.Exe, err)
	}
	if s.VDSO.Start != 0 {
		return nil
	}
	vmas, err := procfs.ReadMaps(int(p.PID))
	if err != nil {
		return err
	}
	return p.FindRoom(vmas)
}

// seal seals mappings again, after the last change to any of them (man 2 mseal).
func (s *Space) seal(b *task.Batch) {
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.has("sl") {
			b.Add(unix.SYS_MSEAL, v.Start, v.Len(), 0)
		}
	}
}

// openKey tells apart descriptors that mappings need.
type openKey struct {
	path  string
	write bool
}

// openKey: a shared mapping of a file that may be written to needs a
// descriptor open for writing, even while it is read-only, and one that may
// not needs a descriptor that is not (man 2 mmap, EACCES).
func (v *VMA) openKey(objects *ObjectRestorer) openKey {
	path := v.Path
	if v.Kind == InObject {
		path = fmt.Sprintf("/proc/self/fd/%d", objects.FD(v.Object))
	}
	return openKey{path, v.Shared && v.Write}
}

// addOpens opens the files that the space maps.
func (s *Space) addOpens(b *task.Batch, p *task.Process, objects *ObjectRestorer) (map[openKey]opened, error) {
	files := map[openKey]opened{}
	o, err := newOpener(p)
	if err != nil {
		return nil, err
	}
	for i := range s.VMAs {
		v := &s.VMAs[i]
		key := v.openKey(objects)
		if _, open := files[key]; open || v.Kind == Anonymous || v.Kind == InRing || v.Kind == InObject && objects.anonymous(v.Object) {
			continue
		}
		mode := unix.O_RDONLY
		if key.write {
			mode = unix.O_RDWR
		}
		files[key] = o.add(b, key.path, mode)
	}
	return files, nil
}

func (v *VMA) addMmap(b *task.Batch, fd int, offset uint64) {
	flags := unix.MAP_FIXED_NOREPLACE
	switch {
	case v.Shared:
		flags |= unix.MAP_SHARED
	case v.has("dp"):
		flags |= unix.MAP_DROPPABLE
	default:
		flags |= unix.MAP_PRIVATE
	}
	if v.Kind == Anonymous {
		flags |= unix.MAP_ANONYMOUS
		if v.Huge != 0 {
			flags |= unix.MAP_HUGETLB | int(v.Huge)<<hugeShift
		}
	}
	if v.has("gd") {
		flags |= unix.MAP_GROWSDOWN
	}
	if v.has("nr") {
		flags |= unix.MAP_NORESERVE
	}
	b.Add(unix.SYS_MMAP, v.Start, v.Len(), v.fillProt(), flags, fd, offset)
}

// advice maps flags of a mapping to the madvise(2) that sets them. Advice on
// speed is optional: a kernel may be built without what it asks for.
var advice = []struct {
	flag     string
	advice   int
	optional bool
}{
	{"hg", unix.MADV_HUGEPAGE, true}, // before the pages are filled in
	{"nh", unix.MADV_NOHUGEPAGE, true},
	{"dc", unix.MADV_DONTFORK, false},
	{"wf", unix.MADV_WIPEONFORK, false},
	{"dd", unix.MADV_DONTDUMP, false},
	{"mg", unix.MADV_MERGEABLE, true},
	{"sr", unix.MADV_SEQUENTIAL, false},
	{"rr", unix.MADV_RANDOM, false},
}

// madvGuardInstall is MADV_GUARD_INSTALL (since Linux 6.13).
const madvGuardInstall = 102

func (v *VMA) addAdvice(b *task.Batch) {
	for _, a := range advice {
		if !v.has(a.flag) {
			continue
		}
		if c := b.Add(unix.SYS_MADVISE, v.Start, v.Len(), a.advice); a.optional {
			c.Optional()
		}
	}
	if v.Name != "" { // without CONFIG_ANON_VMA_NAME, names are lost
		b.Add(unix.SYS_PRCTL, unix.PR_SET_VMA, unix.PR_SET_VMA_ANON_NAME, v.Start, v.Len(), v.Name).Optional()
	}
}
