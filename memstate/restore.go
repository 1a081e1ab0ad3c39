package memstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/memimg"
)

// Map makes every mapping of the space but the vDSO in a bare process, empty as yet.
// Files are opened by path, once each.
func (s *Space) Map(p *task.Process, objects *ObjectRestorer) error {
	if err := s.takeKeys(p); err != nil {
		return err
	}
	files, err := s.openFiles(p, objects)
	if err != nil {
		return err
	}
	var b task.Batch
	for i := range s.VMAs {
		v := &s.VMAs[i]
		switch v.Kind {
		case Anonymous:
			v.addMmap(&b, -1, 0)
		case File:
			v.addMmap(&b, files[v.openKey(objects)], v.Offset)
		case InObject:
			objects.addMap(&b, v, files[v.openKey(objects)])
		}
		v.addAdvice(&b)
	}
	for _, fd := range files {
		b.Add(unix.SYS_CLOSE, fd)
	}
	objects.addUnmap(&b)
	if err := p.Run(&b); err != nil {
		err = fmt.Errorf("map memory: %w", err)
		if s.hasHuge() {
			return hugeProblem("mappings", err)
		}
		return err
	}
	return s.bind(p)
}

// Fill says which of the image's pages belong to the process.
func (s *Space) Fill(p *task.Process) memimg.Fill {
	return memimg.Fill{Space: s.ID, Sink: Sink(p.PID)}
}

// Finish does what must wait until the pages are in place.
func (s *Space) Finish(p *task.Process, objects *ObjectRestorer) error {
	var b task.Batch
	for _, g := range s.Guards {
		b.Add(unix.SYS_MADVISE, g.Start, g.End-g.Start, madvGuardInstall)
	}
	if err := p.Run(&b); err != nil {
		return fmt.Errorf("guard memory: %w", err)
	}
	if err := s.protect(p); err != nil {
		return err
	}
	if err := s.giveKeys(p); err != nil {
		return err
	}
	if err := s.lock(p); err != nil {
		return err
	}
	if err := s.MM.Restore(p, objects); err != nil {
		return err
	}
	return s.seal(p)
}

// seal seals mappings again, after the last change to any of them (man 2 mseal).
func (s *Space) seal(p *task.Process) error {
	var b task.Batch
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.has("sl") {
			b.Add(unix.SYS_MSEAL, v.Start, v.Len(), 0)
		}
	}
	if err := p.Run(&b); err != nil {
		return fmt.Errorf("seal memory: %w", err)
	}
	return nil
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

func (s *Space) openFiles(p *task.Process, objects *ObjectRestorer) (map[openKey]int, error) {
	var b task.Batch
	calls := map[openKey]*task.Call{}
	for i := range s.VMAs {
		v := &s.VMAs[i]
		key := v.openKey(objects)
		if v.Kind == Anonymous || v.Kind == InObject && objects.anonymous(v.Object) || calls[key] != nil {
			continue
		}
		mode := unix.O_RDONLY
		if key.write {
			mode = unix.O_RDWR
		}
		calls[key] = b.Add(unix.SYS_OPEN, key.path, mode|unix.O_CLOEXEC, 0).Optional()
	}
	if err := p.Run(&b); err != nil {
		return nil, err
	}
	files := map[openKey]int{}
	for key, c := range calls {
		if err := c.Err(); err != nil {
			return nil, fmt.Errorf("open mapped file %s: %w", key.path, err)
		}
		files[key] = int(c.Ret)
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
