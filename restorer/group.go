package restorer

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// groups puts every process that is not where it belongs into its process
// group, leaders first. A group whose leader has died gets one for the moment.
func (sk *skeleton) groups() error {
	for _, n := range sk.all {
		if n.group == n.id && sk.group[n.held] != n.id {
			if err := sk.leadGroup(n); err != nil {
				return err
			}
		}
	}
	dead := map[task.ID]*task.Process{} // stand-ins, and who made them
	for _, n := range sk.all {
		if n.group == n.id || n.group == sk.outside.group || n.group == sk.group[n.held] {
			continue
		}
		if sk.byID[n.group] == nil && dead[n.group] == nil && !sk.ended[n.group] {
			if err := sk.deadGroup(n); err != nil {
				return err
			}
			dead[n.group] = n.held
		}
		if _, err := n.held.Call(unix.SYS_SETPGID, 0, n.group); err != nil {
			return fmt.Errorf("put process %d into group %d: %w", n.id, n.group, err)
		}
	}
	for group, parent := range dead {
		if err := sk.endLeader(group, parent); err != nil {
			return err
		}
	}
	return sk.foregrounds()
}

// foregrounds puts the right group into the foreground of each terminal of
// the tree's own. The leader asks, with SIGTTOU blocked.
func (sk *skeleton) foregrounds() error {
	for _, n := range sk.all {
		if !sk.leads(n) || n.foreground == 0 || !sk.ptys[n.tty] {
			continue
		}
		name := fmt.Sprintf("/dev/pts/%d", ptsIndex(n.tty))
		fd, err := n.held.Call(unix.SYS_OPEN, name, unix.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		var b task.Batch
		b.Add(unix.SYS_IOCTL, fd, unix.TIOCSPGRP, binary.LittleEndian.AppendUint32(nil, uint32(n.held.Aliases.Kernel(n.foreground))))
		b.Add(unix.SYS_CLOSE, fd)
		if err := n.held.Run(&b); err != nil {
			return fmt.Errorf("put group %d into the foreground of %s: %w", n.foreground, name, err)
		}
	}
	return nil
}

// deadGroup makes a process that leads n's group.
func (sk *skeleton) deadGroup(n *node) error {
	stand, err := sk.standIn(n.held, n.group, 0)
	if err != nil {
		return fmt.Errorf("leader of group %d: %w", n.group, err)
	}
	_, err = stand.Call(unix.SYS_SETPGID, 0, 0)
	return err
}

// leadGroup makes n the leader of a group.
func (sk *skeleton) leadGroup(n *node) error {
	if _, err := n.held.Call(unix.SYS_SETPGID, 0, 0); err != nil {
		return fmt.Errorf("group %d: %w", n.group, err)
	}
	sk.group[n.held] = n.id
	return nil
}
