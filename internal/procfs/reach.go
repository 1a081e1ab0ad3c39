package procfs

import (
	"os"
	"path"
	"strings"
)

// Reach gives a path by which we find what /proc shows as name of a process
// (Linux fs/d_path.c:d_path): such a path begins at our own root or, for a
// process in another mount namespace, at the root of that. The way into a
// namespace is the root directory of a process in it; one that has changed its
// root leads only to what lies below, and then an ancestor is asked.
func Reach(pid int, name string) string {
	clean := path.Clean("/" + name)
	own, err := Namespace(os.Getpid(), "mnt")
	theirs, err2 := Namespace(pid, "mnt")
	if err != nil || err2 != nil || own == theirs {
		return clean
	}
	for p := pid; p > 1; {
		if ns, err := Namespace(p, "mnt"); err != nil || ns != theirs {
			break
		}
		if root, err := Root(p); err == nil && root == "/" {
			return pidPath(p, "root") + clean
		}
		st, err := ReadStat(p)
		if err != nil {
			break
		}
		p = st.PPID
	}
	root, _ := Root(pid)
	return pidPath(pid, "root") + strings.TrimPrefix(clean, root)
}
