package procfs

import (
	"path"
	"strings"
)

// A View is how we find the files that a process has names for. What /proc
// shows as a name (Linux fs/d_path.c:d_path) begins at our own root or, for a
// process in another mount namespace, at the root of that. The way into a
// namespace is the root directory of a process in it; one that has changed its
// root leads only to what lies below, and then an ancestor is asked.
type View struct {
	door string // a directory that leads to the root where names begin, or ""
	root string // how much of a name the door has behind it already
}

// Path gives a path by which we find what the process calls name.
func (v View) Path(name string) string {
	clean := path.Clean("/" + name)
	if v.door == "" {
		return clean
	}
	return v.door + strings.TrimPrefix(clean, v.root)
}

// ViewOf gives the view of a process.
func ViewOf(pid int) View {
	own, err := OwnNamespace("mnt")
	theirs, err2 := Namespace(pid, "mnt")
	if err != nil || err2 != nil || own == theirs {
		return View{}
	}
	for p := pid; p > 1; {
		if ns, err := Namespace(p, "mnt"); err != nil || ns != theirs {
			break
		}
		if root, err := Root(p); err == nil && root == "/" {
			return View{door: pidPath(p, "root")}
		}
		st, err := ReadStat(p)
		if err != nil {
			break
		}
		p = st.PPID
	}
	root, _ := Root(pid)
	return View{door: pidPath(pid, "root"), root: root}
}

// Reach gives a path by which we find what a process calls name.
func Reach(pid int, name string) string { return ViewOf(pid).Path(name) }
