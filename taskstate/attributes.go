package taskstate

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// captureAttributes reads the small things that a single call sets again.
func captureAttributes(c *capture) error {
	var err error
	pid := int(c.held.PID)
	if c.rec.OOMScoreAdj, err = procfs.ReadValue(pid, "oom_score_adj"); err != nil {
		return err
	}
	if c.rec.CoredumpFilter, err = procfs.ReadValue(pid, "coredump_filter"); err != nil {
		return err
	}
	thp := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_THP_DISABLE, 0, 0, 0, 0).Optional()
	mdwe := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_MDWE, 0, 0, 0, 0).Optional() // EINVAL before Linux 6.3
	perm := make([]byte, 8)
	c.batch.Add(unix.SYS_ARCH_PRCTL, archGetXcompPerm, perm).Optional()
	dumpable := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)
	reaper := make([]byte, 4)
	c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, reaper)
	c.later = append(c.later, func() {
		c.rec.Dumpable = int(dumpable.Ret)
		c.rec.Subreaper = reaper[0] != 0
		c.rec.THPDisable = max(thp.Ret, 0)
		c.rec.MDWE = max(mdwe.Ret, 0)
		c.rec.Tiles = perm[2]&(1<<(xfeatureTileData-16)) != 0
	})
	return nil
}

func restoreAttributes(r *restore) error {
	b := &r.batch
	if r.rec.Subreaper {
		b.Add(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1)
	}
	if thp := r.rec.THPDisable; thp != 0 { // bit 0 is on, the others are flags (since Linux 6.18)
		b.Add(unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, thp&^1, 0, 0)
	}
	if r.rec.MDWE != 0 { // all mappings are made
		b.Add(unix.SYS_PRCTL, unix.PR_SET_MDWE, r.rec.MDWE, 0, 0, 0)
	}
	if r.rec.Tiles {
		b.Add(unix.SYS_ARCH_PRCTL, archReqXcompPerm, xfeatureTileData)
	}
	if err := r.writeProc("oom_score_adj", r.rec.OOMScoreAdj); err != nil {
		return err
	}
	return r.writeProc("coredump_filter", r.rec.CoredumpFilter)
}

// Use of AMX tiles is asked for once a process (Linux
// Documentation/arch/x86/xstate.rst).
const (
	archGetXcompPerm = 0x1022
	archReqXcompPerm = 0x1023
	xfeatureTileData = 18
)

// writeProc writes a value where it differs. A lower oom_score_adj needs
// privilege; without it the process keeps what it has.
func (r *restore) writeProc(name, value string) error {
	pid := int(r.held.PID)
	if have, err := procfs.ReadValue(pid, name); err != nil || have == value {
		return err
	}
	if name == "coredump_filter" {
		value = "0x" + value // it is printed without
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, name), []byte(value), 0)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	return err
}
