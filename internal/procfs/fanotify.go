package procfs

import "bytes"

// Fanotify is a fanotify(7) group.
type Fanotify struct {
	Flags      uint32 // FAN_*, as given to fanotify_init(2)
	EventFlags uint32 // O_*, the same
	Marks      []FanotifyMark
}

// FanotifyMark is what a group wants to know of one object.
type FanotifyMark struct {
	On      MarkedObject
	Mount   int    // of OnMount: its id
	Ino     uint64 // of OnInode
	Sdev    uint32 // the kernel's own form of a device number; not of OnMount
	Flags   uint32 // FAN_MARK_*
	Mask    uint32 // FAN_*
	Ignored uint32

	HandleType int    // of Handle, as in open_by_handle_at(2)
	Handle     []byte // empty where the filesystem has no file handles
}

// MarkedObject says what a mark is on.
type MarkedObject byte

// What a mark can be on.
const (
	OnInode MarkedObject = iota
	OnMount
	OnFilesystem
)

// Fanotify decodes the fdinfo of a fanotify group (Linux
// fs/notify/fdinfo.c:fanotify_fdinfo, v6.12).
func (f *FDInfo) Fanotify() (g Fanotify, err error) {
	first := true
	err = f.eachLine("not a fanotify group", func(c *cursor) bool {
		c.lit("fanotify ")
		if first {
			first = false
			c.lit("flags:")
			g.Flags = c.uint32(16)
			c.lit(" event-flags:")
			g.EventFlags = c.uint32(16)
			return c.done()
		}
		g.Marks = append(g.Marks, c.fanotifyMark())
		return c.done()
	})
	if err == nil && first {
		err = inFile(f.file, fileError("not a fanotify group: no flags"))
	}
	return g, err
}

// fanotifyMark takes the rest of the line of a mark. What an inode's has first
// tells it from the others.
func (c *cursor) fanotifyMark() (m FanotifyMark) {
	switch {
	case bytes.HasPrefix(c.b, []byte("mnt_id:")):
		m.On = OnMount
		c.lit("mnt_id:")
		m.Mount = int(c.uint32(16))
	case bytes.HasPrefix(c.b, []byte("sdev:")):
		m.On = OnFilesystem
		c.lit("sdev:")
		m.Sdev = c.uint32(16)
	default:
		c.lit("ino:")
		m.Ino = c.hex()
		c.lit(" sdev:")
		m.Sdev = c.uint32(16)
	}
	c.lit(" mflags:")
	m.Flags = c.uint32(16)
	c.lit(" mask:")
	m.Mask = c.uint32(16)
	c.lit(" ignored_mask:")
	m.Ignored = c.uint32(16)
	if m.On == OnInode && !c.bad {
		c.lit(" ")
		m.HandleType, m.Handle = c.handle()
	}
	return m
}

// handle takes a file handle, or the end where the file system has none.
func (c *cursor) handle() (kind int, handle []byte) {
	if c.bad || len(c.b) == 0 {
		return 0, nil
	}
	c.lit("fhandle-bytes:")
	n := c.uint32(16)
	c.lit(" fhandle-type:")
	kind = int(c.uint32(16))
	c.lit(" f_handle:")
	return kind, c.hexBytes(n)
}
