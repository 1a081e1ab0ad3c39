package virtual

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

func TestRealPath(t *testing.T) {
	tr := newTranslator([]task.Alias{{Own: 100, Kernel: 2100}, {Own: 101, Kernel: 2101}})
	for name, want := range map[string]string{
		"/proc/100":               "/proc/2100",
		"/proc/100/task/101/comm": "/proc/2100/task/2101/comm",
		"/proc//100/../100/stat":  "/proc/2100/stat",
		"/proc/self/task/101":     "/proc/self/task/2101",
		"/proc/100/fd/101":        "/proc/2100/fd/101",
		"/proc/2100/stat":         "/proc/2100/stat",
		"/proc/1001/stat":         "/proc/1001/stat",
		"/proc/self/../stat":      "/proc/self/../stat",
		"/proc/":                  "/proc/",
	} {
		if got := tr.realPath(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestGuard: a number that is near is taken and kept, so that no task of the tree
// gets it, and others are given back.
func TestGuard(t *testing.T) {
	last, ok := lastPID()
	if !ok {
		t.Fatal("no last pid")
	}
	var list []task.Alias
	for i := range 20 {
		list = append(list, task.Alias{Own: task.ID(last + 40 + 5*i), Kernel: task.ID(1<<22 + i)})
	}
	tr := newTranslator(list)
	if what := tr.clone(nil); !what.pass {
		t.Fatalf("clone: %+v", what)
	}
	if now, _ := lastPID(); tr.guard.near(now) {
		t.Errorf("from %d on, numbers are near and not kept: %v", now, tr.guard.own)
	}
	kept := 0
	for own, yes := range tr.guard.own {
		if yes {
			kept++
			if unix.Kill(int(own), 0) != nil {
				t.Errorf("%d is kept, and free", own)
			}
			reap(int(own))
		}
	}
	if kept == 0 { // others may have taken some
		t.Errorf("none of %v is kept", tr.guard.own)
	}
	if free(os.Getpid()) || tr.guard.took(task.ID(os.Getpid())) {
		t.Error("our own number")
	}
}

// TestIDFilter: every call that has a handler is asked about, and those about
// priority inheritance fail without.
func TestIDFilter(t *testing.T) {
	r := Rules{Translate: true, Files: []File{{Path: "/x"}}, Aliases: []task.Alias{{Own: 1, Kernel: 2}}}
	if err := r.SetProgram(); err != nil {
		t.Fatal(err)
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	const ask, permit, enosys = unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	for _, nr := range idCalls() {
		if got := verdict(t, &r, auditArch, nr, [6]uint64{}); got != ask {
			t.Errorf("call %d: %#x", nr, got)
		}
	}
	for _, c := range []struct {
		nr        uint32
		arg, want uint64
	}{
		{unix.SYS_FUTEX, 0, permit}, {unix.SYS_FUTEX, 128, permit}, {unix.SYS_FUTEX, 9, permit},
		{unix.SYS_FUTEX, 6, uint64(enosys)}, {unix.SYS_FUTEX, 128 | 13, uint64(enosys)},
		{unix.SYS_FCNTL, unix.F_GETFL, permit}, {unix.SYS_FCNTL, unix.F_SETOWN, ask},
		{unix.SYS_IOCTL, unix.TIOCSPGRP, ask}, {unix.SYS_IOCTL, unix.TCGETS, permit},
		{unix.SYS_READ, 0, permit}, {unix.SYS_EXIT_GROUP, 0, permit}, {unix.SYS_EXECVE, 0, permit},
	} {
		if got := verdict(t, &r, auditArch, c.nr, [6]uint64{1: c.arg}); uint64(got) != c.want {
			t.Errorf("call %d with %d: %#x, want %#x", c.nr, c.arg, got, c.want)
		}
	}
	for _, bad := range []Rules{
		{Hostname: "h", Program: r.Program, Aliases: r.Aliases},
		{Translate: true, Program: r.Program, Aliases: []task.Alias{{Own: 1, Kernel: 2}, {Own: 2, Kernel: 3}}},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is right", bad.Aliases)
		}
	}
}
