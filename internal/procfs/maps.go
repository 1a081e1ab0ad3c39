package procfs

import (
	"strconv"
	"strings"
)

// VMA is one mapping of a process: a line of /proc/PID/maps, and what
// /proc/PID/smaps has to say about it.
type VMA struct {
	Start, End uint64

	Read, Write, Exec bool
	Shared            bool // mapped MAP_SHARED

	Offset             uint64 // in the file, in bytes
	DevMajor, DevMinor uint32 // the superblock's, which btrfs and overlayfs do not show in stat(2)
	Ino                uint64 // 0 if there is no file

	// Path is the name the kernel prints: the path of the file as seen from
	// the reader's root, or a name in brackets, or nothing. Deleted says that
	// " (deleted)" was cut from its end; a file may really be called so.
	// Where it matters, compare Ino.
	Path    string
	Deleted bool

	// The rest is read from smaps only.
	Swap          uint64 // bytes swapped out
	PageSize      uint64 // bytes in a page: the huge page's on hugetlbfs
	Flags         VMFlags
	UnknownFlags  []string // codes in VmFlags that have no constant here
	ProtectionKey int      // pkeys(7); 0 where the machine has none
}

// Len returns the size of the mapping in bytes.
func (v *VMA) Len() uint64 { return v.End - v.Start }

// Anonymous reports whether the mapping has no file, and is not one that the
// kernel put there ([VMA.Special]). The heap, the stack and mappings named
// with PR_SET_VMA_ANON_NAME are anonymous; MAP_SHARED|MAP_ANONYMOUS is not,
// since it has an inode.
func (v *VMA) Anonymous() bool { return v.Ino == 0 && v.Path == "" || v.ordinaryName() }

// Special reports whether the mapping is the kernel's own, such as [vdso],
// [vvar], [vvar_vclock], [vsyscall] or [uprobes]: it has a name in brackets
// that is neither the heap's, the stack's nor one the program gave.
func (v *VMA) Special() bool {
	return v.Ino == 0 && strings.HasPrefix(v.Path, "[") && !v.ordinaryName()
}

// ordinaryName reports whether the mapping has a name that the kernel prints
// for memory without a file that belongs to the program (Linux
// fs/proc/task_mmu.c:get_vma_name, v6.12).
func (v *VMA) ordinaryName() bool {
	if v.Ino != 0 {
		return false
	}
	return v.Path == "[heap]" || v.Path == "[stack]" || strings.HasPrefix(v.Path, "[anon:")
}

// AnonName returns the name that the program gave the mapping with
// PR_SET_VMA_ANON_NAME. Such a name never has a bracket (Linux
// mm/madvise.c:is_valid_name_char, v6.12). A name given to the heap or
// to the initial stack is not printed.
func (v *VMA) AnonName() (name string, ok bool) {
	name, ok = strings.CutPrefix(v.Path, "[anon:")
	if !ok {
		name, ok = strings.CutPrefix(v.Path, "[anon_shmem:")
	}
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, "]")
}

// ReadMaps reads the mappings of a process from /proc/PID/maps, in ascending
// order. It is cheaper than [ReadSmaps] by a walk through the page tables.
func ReadMaps(pid int) ([]VMA, error) {
	vmas, err := readFile(pidPath(pid, "maps"), parseMaps)
	exactPaths(pid, vmas)
	return vmas, err
}

// exactPaths replaces paths that are ambiguous. A newline is printed as \012,
// but so is a backslash followed by 012, as only newlines are escaped. The
// link in /proc/PID/map_files has the path as it is, and reading it needs no
// privilege, unlike following it. If the mapping has gone meanwhile, which it
// cannot while the process is stopped, the path stays as decoded.
func exactPaths(pid int, vmas []VMA) {
	for i := range vmas {
		v := &vmas[i]
		if v.Ino == 0 || strings.IndexByte(v.Path, '\n') < 0 {
			continue
		}
		name := strconv.FormatUint(v.Start, 16) + "-" + strconv.FormatUint(v.End, 16)
		if path, err := readLink(pidPath(pid, "map_files/"+name)); err == nil {
			v.Path, v.Deleted = CutDeleted(path)
		}
	}
}

// parseMaps parses /proc/PID/maps.
func parseMaps(b []byte) ([]VMA, error) {
	var vmas []VMA
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		v, ok := parseMapsLine(line)
		if !ok {
			return nil, lineError(n, line, "not a mapping")
		}
		vmas = append(vmas, v)
	}
	return vmas, nil
}

// parseMapsLine parses one mapping (Linux
// fs/proc/task_mmu.c:show_map_vma, v6.12). There is a space after the inode
// even when no name follows.
func parseMapsLine(line []byte) (v VMA, ok bool) {
	c := cursor{b: line}
	v.Start = c.hex()
	c.lit("-")
	v.End = c.hex()
	c.lit(" ")
	v.Read = c.flag('r', '-')
	v.Write = c.flag('w', '-')
	v.Exec = c.flag('x', '-')
	v.Shared = c.flag('s', 'p')
	c.lit(" ")
	v.Offset = c.hex()
	c.lit(" ")
	v.DevMajor = c.uint32(16)
	c.lit(":")
	v.DevMinor = c.uint32(16)
	c.lit(" ")
	v.Ino = c.dec()
	c.separated()
	c.blanks()
	v.setPath(c.rest())
	return v, c.done() && v.Start < v.End
}

// flag takes one byte, which is yes or no.
func (c *cursor) flag(yes, no byte) bool {
	ch := c.byte()
	if ch != yes && ch != no {
		c.fail()
	}
	return ch == yes
}

// setPath takes the name of a mapping as printed. Only a newline is escaped in
// it (Linux fs/proc/task_mmu.c:show_map_vma, v6.12).
func (v *VMA) setPath(b []byte) {
	v.Path = string(b)
	if strings.IndexByte(v.Path, '\\') >= 0 {
		v.Path = strings.ReplaceAll(v.Path, `\012`, "\n")
	}
	if v.Ino != 0 {
		v.Path, v.Deleted = CutDeleted(v.Path)
	}
}

// CutDeleted cuts the suffix that the kernel appends to the path of a file
// that was unlinked (Linux fs/d_path.c:d_path, v6.12), and reports whether it
// was there. A file that has this suffix in its name looks the same.
func CutDeleted(path string) (string, bool) {
	return strings.CutSuffix(path, " (deleted)")
}
