package procfs

import (
	"bytes"
	"math"
)

// ReadSmaps reads the mappings of a process from /proc/PID/smaps, in ascending
// order, with their flags. The kernel walks the page tables for it.
func ReadSmaps(pid int) ([]VMA, error) {
	vmas, err := readFile(pidPath(pid, "smaps"), parseSmaps)
	exactPaths(pid, vmas)
	return vmas, err
}

// smapsLines is how many lines of /proc/PID/smaps a mapping has; used to guess
// the number of mappings.
const smapsLines = 24

// parseSmaps parses /proc/PID/smaps (Linux fs/proc/task_mmu.c:show_smap,
// v6.12): the line of /proc/PID/maps, then "Key: value" lines up to VmFlags.
func parseSmaps(b []byte) ([]VMA, error) {
	vmas := make([]VMA, 0, len(b)/(smapsLines*28))
	inside := false // between a mapping's first line and its VmFlags
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		if !inside {
			v, ok := parseMapsLine(line)
			if !ok {
				return nil, lineError(n, line, "not a mapping")
			}
			vmas = append(vmas, v)
			inside = true
			continue
		}
		last, ok := vmas[len(vmas)-1].parseDetail(line)
		if !ok {
			return nil, lineError(n, line, "not a line of a mapping")
		}
		inside = !last
	}
	if inside {
		return nil, fileError("ends inside a mapping")
	}
	return vmas, nil
}

// parseDetail parses one of the lines that describe a mapping. VmFlags is the
// last, and then the page size must have been seen.
func (v *VMA) parseDetail(line []byte) (last, ok bool) {
	key, c := cutKey(line)
	switch string(key) {
	case "KernelPageSize":
		v.PageSize = c.kilobytes()
	case "Swap":
		v.Swap = c.kilobytes()
	case "ProtectionKey":
		c.blanks()
		v.ProtectionKey = int(c.uint32(10) & math.MaxInt32)
	case "VmFlags":
		v.Flags, v.UnknownFlags = parseVMFlags(c.rest())
		return true, v.PageSize != 0 && c.done()
	default:
		return false, len(key) > 0
	}
	return false, c.done()
}

// cutKey splits "Key: value" and returns a cursor after the colon. The key is
// empty when the line has no colon.
func cutKey(line []byte) (key []byte, value cursor) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return nil, cursor{bad: true}
	}
	return line[:i], cursor{b: line[i+1:]}
}

// kilobytes takes a padded number and its unit, and returns bytes.
func (c *cursor) kilobytes() uint64 {
	c.blanks()
	n := c.dec()
	c.lit(" kB")
	if n > math.MaxUint64/1024 {
		c.fail()
		return 0
	}
	return n * 1024
}
