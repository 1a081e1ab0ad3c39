package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/virtual"
)

// ReadWishes reads a file of rules for what a program is to see of its host; nil
// for no file.
func ReadWishes(file string) (*virtual.Wishes, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return virtual.Parse(file, string(text))
}

// HostRules makes rules of such a file, with the values of this host; nil for no
// file.
func HostRules(file string) (*virtual.Rules, error) {
	wishes, err := ReadWishes(file)
	if wishes == nil || err != nil {
		return nil, err
	}
	if err := canAnswer(); err != nil {
		return nil, err
	}
	rules := new(virtual.Rules)
	if err := wishes.Apply(rules, virtual.Host{}); err != nil {
		return nil, err
	}
	return rules, rules.SetProgram()
}

// canAnswer refuses where the answerer could not see the arguments of calls.
// With Yama only ancestors may.
func canAnswer() error {
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil || string(scope) == "0\n" {
		return nil
	}
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil || st.CapEff&(1<<unix.CAP_SYS_PTRACE) != 0 {
		return err
	}
	return errors.New("--virtualize needs kernel.yama.ptrace_scope=0, or CAP_SYS_PTRACE: the process that answers is no ancestor of the program")
}

// virtualize puts this thread, to which the caller has locked its goroutine,
// under the filter of the rules, and starts the answerer from another.
func virtualize(rules *virtual.Rules) error {
	listener, err := rules.Install()
	if err != nil {
		return fmt.Errorf("virtualize: %w", err)
	}
	done := make(chan error)
	go func() { done <- rules.StartAnswerer(listener) }()
	return errors.Join(<-done, unix.Close(listener))
}
