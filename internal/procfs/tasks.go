package procfs

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Processes returns the pids of all processes, in ascending order.
func Processes() ([]int, error) {
	return readNumbers(root)
}

// Tasks returns the tids of a process's threads, in ascending order. Threads
// that exit or start meanwhile may or may not be among them.
func Tasks(pid int) ([]int, error) {
	return readNumbers(pidPath(pid, "task"))
}

// Children returns the pids of a process's children, whichever thread has
// forked them, in ascending order. Zombies are among them. The list is
// reliable only while neither the process nor its children run: the kernel
// may leave out a sibling of one that exits (proc_tid_children(5)).
func Children(pid int) ([]int, error) {
	if !hasChildrenFile() {
		return childrenByParent(pid)
	}
	tids, err := Tasks(pid)
	if err != nil {
		return nil, err
	}
	var children []int
	for _, tid := range tids {
		list, err := readFile(taskPath(pid, tid, "children"), parseChildren)
		if Gone(err) {
			continue // the thread exited, and its children went to another
		}
		if err != nil {
			return nil, err
		}
		children = append(children, list...)
	}
	slices.Sort(children)
	return children, nil
}

// hasChildrenFile reports whether the kernel has CONFIG_PROC_CHILDREN.
var hasChildrenFile = sync.OnceValue(func() bool {
	return unix.Access(root+"/thread-self/children", unix.R_OK) == nil
})

// childrenByParent finds the children of a process by asking every process
// for its parent.
func childrenByParent(pid int) ([]int, error) {
	all, err := Processes()
	if err != nil {
		return nil, err
	}
	var children []int
	for _, p := range all {
		s, err := ReadStat(p)
		if Gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.PPID == pid {
			children = append(children, p)
		}
	}
	return children, nil
}

// parseChildren parses /proc/PID/task/TID/children: pids, each with a space
// after it, and no newline (Linux fs/proc/array.c:children_seq_show, v6.12).
func parseChildren(b []byte) ([]int, error) {
	c := cursor{b: b}
	pids := c.ints()
	if !c.done() {
		return nil, lineError(1, b, "not a list of pids")
	}
	return pids, nil
}
