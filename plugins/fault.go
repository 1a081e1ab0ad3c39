package plugins

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FaultVariable names a fault to inject, for tests: "kill:PHASE" makes the
// supervisor kill itself with SIGKILL as the phase begins, "fail:PHASE" makes
// the phase fail. There are moments inside phases, too: see Fault.
const FaultVariable = "SUPERVISE_FAULT"

// WithFaults puts the fault of the environment, if there is one, in front of
// a hook, which may be nil.
func WithFaults(next Hook) Hook {
	return func(p Phase) error {
		if err := Fault(string(p)); err != nil || next == nil {
			return err
		}
		return next(p)
	}
}

// Fault makes the fault of the environment, if it is for this moment: "settle"
// is when data of TCP is on its way, "peek" when options of a socket are set
// otherwise for a look at its queue.
func Fault(moment string) error {
	kind, at, _ := strings.Cut(os.Getenv(FaultVariable), ":")
	if at != moment {
		return nil
	}
	switch kind {
	case "kill":
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	case "fail":
		return fmt.Errorf("%s asks for phase %s to fail", FaultVariable, moment)
	}
	return fmt.Errorf("%s: %q is not a fault; use kill:PHASE or fail:PHASE", FaultVariable, kind)
}
