package fdstate

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// opens are the events of someone who looks into a directory.
const opens = unix.IN_OPEN | unix.IN_ACCESS | unix.IN_CLOSE_NOWRITE

// onlookers finds the files that any process which we may look at watches for
// being opened: other trees are not to hear of a search either. What processes
// of other users watch nobody tells us.
func onlookers() map[fileKey]bool {
	seen := map[fileKey]bool{}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return seen
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		fds, err := procfs.FDs(pid)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if link, err := procfs.FDLink(pid, fd); err == nil && strings.Contains(link, "notify") {
				addOnlooker(seen, pid, fd, link)
			}
		}
	}
	return seen
}

func addOnlooker(seen map[fileKey]bool, pid, fd int, link string) {
	info, err := procfs.ReadFDInfo(pid, fd)
	if err != nil {
		return
	}
	files, err := watches(link, &info)
	if err != nil {
		return
	}
	for _, f := range files {
		if f.mask&opens != 0 {
			seen[f.key] = true
		}
	}
}
