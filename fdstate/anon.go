package fdstate

import (
	"strings"

	"golang.org/x/sys/unix"
)

// What the kernel calls objects that are refused. Some look like files and are
// told by the file system that they are on.

func isAnon(d *Desc) bool { return d.anonName() != "" }

func isBPF(d *Desc) bool {
	name := d.anonName()
	return strings.HasPrefix(name, "bpf") || name == "btf"
}

func isKVM(d *Desc) bool { return strings.HasPrefix(d.anonName(), "kvm") }

func isMountContext(d *Desc) bool {
	name := d.anonName()
	return name == "[fscontext]" || name == "[mntns]"
}

func isDMA(d *Desc) bool {
	return strings.HasPrefix(d.Link, "/dmabuf:") || strings.HasPrefix(d.anonName(), "sync_file")
}

func isBlockDevice(d *Desc) bool { return d.mode() == unix.S_IFBLK }

func isNamespace(d *Desc) bool {
	kind, _, ok := strings.Cut(d.Link, ":[")
	return ok && d.mode() == unix.S_IFREG && !strings.Contains(kind, "/")
}

// Magic numbers of file systems (man 2 statfs).
const (
	magicSecretmem = 0x5345434d
	magicMqueue    = 0x19800202
)

func isSecret(d *Desc) bool { return d.onFileSystem(magicSecretmem) }

// onFileSystem asks only about names without a directory, which kernel
// objects have: a question to an ordinary file system may have to wait for a
// server that is frozen with the tree.
func (d *Desc) onFileSystem(magic int64) bool {
	if d.mode() != unix.S_IFREG || strings.LastIndexByte(d.Link, '/') != 0 {
		return false
	}
	var st unix.Statfs_t
	return unix.Statfs(fdPath(d.PID, d.FD), &st) == nil && st.Type == magic
}
