package memstate

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/memimg"
)

// Process is a frozen process whose memory is looked at.
type Process struct {
	Held *task.Process
	Comm string
	VMAs []procfs.VMA // as it was before it was infected

	view procfs.View
}

// carried are the flags of a mapping that a restart sets again. The others
// follow from how it is mapped, or are refused.
var carried = []string{"gd", "nr", "dc", "wf", "dd", "hg", "nh", "mg", "sr", "rr", "lo", "lf", "dp", "sl"}

// refusedFlags are the flags of mappings that cannot be captured.
var refusedFlags = []struct{ code, why string }{
	{"io", "memory of a device"},
	{"pf", "memory of a device"},
	{"um", "registered with userfaultfd"},
	{"uw", "registered with userfaultfd"},
	{"ui", "registered with userfaultfd"},
	{"ss", "shadow stack"},
	{"sf", "persistent memory mapped with MAP_SYNC"},
}

// Survey sorts the mappings of a process into records, and refuses what
// cannot be captured. Objects learn of the mappings that share them.
func Survey(p Process, id uint32, objects *Objects, refused *refuse.List) (Space, error) {
	s := Space{ID: id}
	whole := false
	p.view = procfs.ViewOf(int(p.Held.PID))
	for i := range p.VMAs {
		v := &p.VMAs[i]
		switch {
		case v.Path == "[vsyscall]":
		case vdsoGroup(v):
			s.addVDSO(v)
			whole = whole || v.Path == "[vdso]"
		default:
			rec, why := classify(&p, v, objects)
			if why != "" {
				refused.Add(refuse.Object{
					PID: int(p.Held.PID), Comm: p.Comm, Why: why,
					What: fmt.Sprintf("mapping %x-%x (%s)", v.Start, v.End, v.Path),
				})
				continue
			}
			s.VMAs = append(s.VMAs, rec)
		}
	}
	if !whole {
		s.VDSO, s.VVar = Range{}, s.VDSO
	}
	return s, nil
}

func (s *Space) addVDSO(v *procfs.VMA) {
	if s.VDSO.Start == 0 {
		s.VDSO.Start = task.Addr(v.Start)
	}
	s.VDSO.End = task.Addr(v.End)
}

// classify makes a record of a mapping, or says why it cannot.
func classify(p *Process, v *procfs.VMA, objects *Objects) (rec VMA, why string) {
	if why := unsupported(v); why != "" {
		return rec, why
	}
	rec = VMA{
		Start: task.Addr(v.Start), End: task.Addr(v.End), Prot: prot(v),
		Shared: v.Shared, Offset: v.Offset, Flags: flags(v), Write: v.Flags.Has("sh"),
		Huge: hugePage(v), Key: uint8(v.ProtectionKey),
	}
	switch {
	case v.Path == ringPath:
		why = classifyRing(p, v, &rec)
	case v.Anonymous(), anonymousHuge(v) && !v.Shared:
		rec.Kind, rec.Offset = Anonymous, 0
		rec.Name, _ = v.AnonName()
	case v.Special():
		return rec, "a mapping that only the kernel can make"
	case objects.saves(p, v):
		rec.Kind = InObject
		rec.Object, why = objects.fromMapping(p, v)
	default:
		file, reachable := objects.reach(p, v)
		if !reachable {
			rec.Kind = InObject
			rec.Object, why = objects.fromMapping(p, v)
			break
		}
		rec.Kind, rec.Path = File, v.Path
		rec.File = objects.identify(file, p.Held, v)
	}
	return rec, why
}

func unsupported(v *procfs.VMA) string {
	for _, f := range refusedFlags {
		if v.Flags.Has(f.code) {
			return f.why
		}
	}
	switch {
	case len(v.UnknownFlags) > 0:
		return "flags this version does not know: " + strings.Join(v.UnknownFlags, " ")
	case isSegment(v) && v.Flags.Has("ht"):
		return "System V shared memory of huge pages"
	case v.Path == "/secretmem":
		return "memfd_secret: the kernel hides its memory from everyone but its owner"
	case v.Ino != 0 && !filepath.IsAbs(v.Path):
		return "memory of " + v.Path
	}
	return ""
}

func prot(v *procfs.VMA) int {
	p := 0
	for _, b := range []struct {
		on  bool
		bit int
	}{{v.Read, unix.PROT_READ}, {v.Write, unix.PROT_WRITE}, {v.Exec, unix.PROT_EXEC}} {
		if b.on {
			p |= b.bit
		}
	}
	return p
}

func flags(v *procfs.VMA) []string {
	var list []string
	for _, f := range carried {
		if v.Flags.Has(f) {
			list = append(list, f)
		}
	}
	return list
}

// Capture asks a held and infected process, in batch b, what only itself can
// tell of its address space. s is complete when b has run.
func (s *Space) Capture(b *task.Batch, p *task.Process, stat procfs.Stat, objects *Objects) error {
	s.capturePolicies(b, p)
	s.captureKeys(b, p)
	return s.MM.capture(b, p, stat, objects)
}

// Private finds the pages that belong to this address space alone: private
// pages that exist, are not the zero page, and are not the unchanged content
// of a file. One scan covers the whole address space, since shared pages
// count as file pages (Linux fs/proc/task_mmu.c:pagemap_page_category, v6.18).
func (s *Space) Private(pid task.PID) ([]memimg.Range, error) {
	pm, err := procfs.OpenPagemap(int(pid))
	if err != nil {
		return nil, err
	}
	defer pm.Close()
	const not = procfs.PageIsFile | procfs.PageIsPFNZero
	guard := procfs.Guards() // before Linux 6.13 there are none
	query := procfs.ScanQuery{
		Inverted: not, Mask: not,
		AnyOf:  procfs.PageIsPresent | procfs.PageIsSwapped | guard,
		Return: guard,
	}
	c := &pageCollector{space: s}
	if len(s.VMAs) == 0 {
		return nil, nil
	}
	last := s.VMAs[len(s.VMAs)-1].End
	err = pm.Scan(uint64(s.VMAs[0].Start), uint64(last), query, c.add)
	return c.ranges, err
}

// pageCollector cuts what a scan finds to the private mappings of a space.
// Both come in ascending order.
type pageCollector struct {
	space  *Space
	next   int // first mapping that may still meet a range
	ranges []memimg.Range
}

func (c *pageCollector) add(start, end, categories uint64) error {
	vmas := c.space.VMAs
	for c.next < len(vmas) && uint64(vmas[c.next].End) <= start {
		c.next++
	}
	for i := c.next; i < len(vmas) && uint64(vmas[i].Start) < end; i++ {
		v := &vmas[i]
		r := memimg.Range{Start: max(start, uint64(v.Start)), End: min(end, uint64(v.End))}
		if categories&procfs.PageIsGuard != 0 {
			c.space.Guards = append(c.space.Guards, Range{task.Addr(r.Start), task.Addr(r.End)})
			continue
		}
		if v.Shared || v.has("dp") {
			continue // droppable memory may be found empty at any time (man 2 mmap)
		}
		if n := len(c.ranges); n > 0 && c.ranges[n-1].End == r.Start {
			c.ranges[n-1].End = r.End
			continue
		}
		c.ranges = append(c.ranges, r)
	}
	return nil
}
