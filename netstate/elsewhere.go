package netstate

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// usedElsewhere tells whether somebody in another network namespace, such as a
// copy of the tree, has a socket at a path: sock_diag tells of ours only. What
// is in the builder's is in the making.
func usedElsewhere(at string, file *unix.Stat_t, builder int) (bool, error) {
	pids, err := procfs.Processes()
	if err != nil {
		return false, err
	}
	seen := map[uint64]bool{}
	for _, pid := range []int{os.Getpid(), builder} {
		ns, err := procfs.Namespace(pid, "net")
		if err != nil {
			return false, err
		}
		seen[ns] = true
	}
	for _, pid := range pids {
		ns, err := procfs.Namespace(pid, "net")
		if err != nil || seen[ns] { // gone, or not ours to look into
			continue
		}
		seen[ns] = true
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", pid))
		if err != nil {
			continue
		}
		for _, name := range boundNames(string(list)) {
			if path.Base(name) == path.Base(at) && leadsTo(pid, name, file) {
				return true, nil
			}
		}
	}
	return false, nil
}

// boundNames are the paths of sockets that are no ends of connections, out of
// /proc/PID/net/unix (Linux net/unix/af_unix.c:unix_seq_show, v6.12).
func boundNames(list string) []string {
	const state, name, unconnected = 5, 7, "01"
	var names []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) <= name || fields[state] != unconnected || strings.HasPrefix(fields[name], "@") {
			continue
		}
		_, at, _ := strings.Cut(line, fields[name-1]+" ") // it may have blanks
		names = append(names, strings.TrimSuffix(at, "\n"))
	}
	return names
}

// leadsTo tells whether a process finds a file by a name.
func leadsTo(pid int, name string, file *unix.Stat_t) bool {
	if !path.IsAbs(name) {
		cwd, err := procfs.Cwd(pid)
		if err != nil {
			return false
		}
		name = path.Join(cwd, name)
	}
	var st unix.Stat_t
	err := unix.Lstat(procfs.Reach(pid, name), &st)
	return err == nil && st.Dev == file.Dev && st.Ino == file.Ino
}
