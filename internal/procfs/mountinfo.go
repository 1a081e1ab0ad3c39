package procfs

// Mount is a mount in the mount namespace of a process.
type Mount struct {
	ID, Parent         int
	DevMajor, DevMinor uint32
	Root               string // which directory of the filesystem is mounted
	MountPoint         string // relative to the root of the process that was asked about
	FSType             string
	Source             string
}

// ReadMountInfo reads /proc/PID/mountinfo.
func ReadMountInfo(pid int) ([]Mount, error) {
	return readFile(pidPath(pid, "mountinfo"), parseMountInfo)
}

// parseMountInfo parses /proc/PID/mountinfo.
func parseMountInfo(b []byte) ([]Mount, error) {
	var mounts []Mount
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		m, ok := parseMount(line)
		if !ok {
			return nil, lineError(n, line, "not a mount")
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount parses one mount: fixed fields, any number of optional ones, "-",
// and fixed ones again (Linux fs/proc_namespace.c:show_mountinfo, v6.12).
// Blanks, newlines and backslashes are octal escapes. The source is empty when
// a program has mounted with an empty one.
func parseMount(line []byte) (m Mount, ok bool) {
	c := cursor{b: line}
	m.ID = int(c.int())
	c.lit(" ")
	m.Parent = int(c.int())
	c.lit(" ")
	m.DevMajor = c.uint32(10)
	c.lit(":")
	m.DevMinor = c.uint32(10)
	c.lit(" ")
	m.Root = unescapeOctal(string(c.until(' ')))
	m.MountPoint = unescapeOctal(string(c.until(' ')))
	c.until(' ') // options of the mount
	for !c.bad && string(c.until(' ')) != "-" {
	}
	m.FSType = unescapeOctal(string(c.until(' ')))
	m.Source = unescapeOctal(string(c.until(' ')))
	c.rest() // options of the superblock
	return m, c.done()
}
