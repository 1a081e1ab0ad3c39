package restorer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/ipcstate"
)

// planIPC gives the tree an ipc namespace of its own whenever it has a pid
// namespace of its own, and something to put there: then others may have its
// ids, or there may soon be another restart of the same image, or we have not
// the right to choose ids here.
func (r *restart) planIPC() {
	r.ids.ipc = r.ids.namespace && (!r.tree.IPC.Empty() || r.tree.Files.Queues())
}

// checkIPC refuses objects of other users when we cannot become them.
func (r *restart) checkIPC(uid, gid int) error {
	p := r.tree.IPC.Foreign(uid, gid)
	if p == nil {
		return nil
	}
	return &HostError{
		Why:  fmt.Sprintf("System V object %d (key %#x) is of uid %d, gid %d, made by uid %d, gid %d", p.ID, uint32(p.Key), p.UID, p.GID, p.CUID, p.CGID),
		Hint: "restart it as root",
	}
}

// ipcLimits are sysctls that belong to an ipc namespace, in which a new one
// has defaults.
var ipcLimits = []string{
	"fs/mqueue/queues_max", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max", "fs/mqueue/msg_default", "fs/mqueue/msgsize_default",
	"kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/sem", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni",
}

// ipcNamespace makes a new ipc namespace for the tree, with the limits of ours.
func (r *restart) ipcNamespace() error {
	if _, err := r.builder.Call(unix.SYS_UNSHARE, unix.CLONE_NEWIPC); err != nil {
		return &HostError{Why: "cannot make an ipc namespace", Err: err, Hint: "see `supervise check`"}
	}
	for _, name := range ipcLimits {
		ours, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return err
		}
		// An ordinary user may not. What then does not fit is an error later.
		err = ipcstate.WriteSysctl(r.builder, name, strings.TrimSpace(string(ours)))
		if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return r.mountQueues()
}

// mountQueues makes the file systems of message queues show those of the new
// namespace.
func (r *restart) mountQueues() error {
	mounts, err := procfs.ReadMountInfo(int(r.builder.PID))
	if err != nil {
		return err
	}
	var b task.Batch
	for _, m := range mounts {
		if m.FSType == "mqueue" {
			b.Add(unix.SYS_MOUNT, "mqueue", m.MountPoint, "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
		}
	}
	if err := r.builder.Run(&b); err != nil {
		return &HostError{Why: "cannot mount the tree's message queues", Err: err, Hint: "see `supervise check`"}
	}
	return nil
}

// makeIPC makes the tree's System V objects and fills segments.
func (r *restart) makeIPC() error {
	r.ipc = ipcstate.NewRestorer(r.tree.IPC, ipcstate.Site{
		Builder: r.builder, EUID: r.base.Creds.UIDs[1], EGID: r.base.Creds.GIDs[1], Own: r.ids.ipc,
		Author: r.author,
		Has:    func(id task.ID) bool { return slices.Contains(r.tree.IDs(), id) },
	})
	if err := r.ipc.Make(); err != nil {
		return r.ipcProblem(err)
	}
	return r.objects.FillSegments(r.builder, r.im, r.progress())
}

// ipcProblem makes a HostError of a limit that is too low here. In our own
// namespace, somebody may also have removed an object that we have just made.
func (r *restart) ipcProblem(err error) error {
	if !r.ids.ipc && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM)) {
		return fmt.Errorf("%w: %w", ipcstate.ErrTaken, err)
	}
	for _, errno := range []error{unix.ENOSPC, unix.EINVAL, unix.EPERM, unix.E2BIG} {
		if errors.Is(err, errno) {
			return &HostError{Why: "the limits of System V objects do not allow the tree's", Err: err, Hint: "see sysctl kernel.shm*, kernel.msg* and kernel.sem"}
		}
	}
	return err
}

// author gives the process with an id: one of the tree, or a stand-in that
// has the id for the moment, or the builder.
func (r *restart) author(id task.ID) (*task.Process, error) {
	if id == 0 {
		return r.builder, nil
	}
	if p := r.known[id]; p != nil {
		return p, nil
	}
	p, err := r.builder.Clone(0, 0, id)
	if errors.Is(err, task.ErrIDTaken) {
		return r.builder, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stand-in for process %d: %w", id, err)
	}
	r.addStandIn(id, p)
	return p, nil
}

// addStandIn has a process end when the tree's System V objects are complete.
func (r *restart) addStandIn(id task.ID, p *task.Process) {
	r.known[id] = p
	r.standIns = append(r.standIns, id)
}

// finishIPC completes the objects, and ends the stand-ins.
func (r *restart) finishIPC() error {
	if err := r.ipc.Finish(); err != nil {
		return r.ipcProblem(err)
	}
	for _, id := range r.standIns {
		if err := r.known[id].Exit(0); err != nil {
			return err
		}
		delete(r.known, id)
		if _, err := r.builder.Call(unix.SYS_WAIT4, id, 0, unix.WALL, 0); err != nil {
			return err
		}
	}
	r.standIns = nil
	return nil
}
