package plugins

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FaultVariable names a fault to inject, for tests: "kill:PHASE" makes the
// supervisor kill itself with SIGKILL as the phase begins, "fail:PHASE" makes
// the phase fail.
const FaultVariable = "SUPERVISE_FAULT"

// WithFaults puts the fault of the environment, if there is one, in front of
// a hook, which may be nil.
func WithFaults(next Hook) Hook {
	kind, at, _ := strings.Cut(os.Getenv(FaultVariable), ":")
	return func(p Phase) error {
		if string(p) == at {
			if err := fault(kind, p); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		return next(p)
	}
}

func fault(kind string, p Phase) error {
	switch kind {
	case "kill":
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	case "fail":
		return fmt.Errorf("%s asks for phase %s to fail", FaultVariable, p)
	}
	return fmt.Errorf("%s: %q is not a fault; use kill:PHASE or fail:PHASE", FaultVariable, kind)
}
