package supervisor

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"supervise/policy"
	"supervise/tracer"
)

// PolicyError says that a policy file cannot be used.
type PolicyError struct {
	Err   error
	OfJob bool // not named for this command, but what the job was started with
}

func (e *PolicyError) Error() string { return e.Err.Error() }
func (e *PolicyError) Unwrap() error { return e.Err }

// ReadPolicy reads a policy file that the user has named; none has no rules.
func ReadPolicy(file string) (*policy.Policy, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, &PolicyError{Err: err}
	}
	defer f.Close()
	return parsePolicy(f)
}

func parsePolicy(f *os.File) (*policy.Policy, error) {
	const limit = 1 << 20
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", f.Name(), limit)
	}
	if err != nil {
		return nil, &PolicyError{Err: err}
	}
	p, err := policy.Parse(f.Name(), string(text), tracer.KindNames())
	if err != nil {
		return nil, &PolicyError{Err: err}
	}
	return p, nil
}

// ReadJobPolicy reads the policy that a job was started with. Whoever started
// it may be another user, whose rules could send what we open at a restart
// anywhere: the file must be ours or root's, and nobody else's to write.
func ReadJobPolicy(file string) (*policy.Policy, error) {
	if file == "" || file == os.DevNull {
		return nil, nil
	}
	// A fifo must not make us wait.
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &PolicyError{fmt.Errorf("policy of the job: %w", err), true}
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &PolicyError{fmt.Errorf("%s: fstat: %w", file, err), true}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, &PolicyError{fmt.Errorf("policy of the job: %s: not a file that only you or root can write to", file), true}
	}
	return parsePolicy(f)
}

// rules are the policy that a snapshot goes by: the one that was given, else
// the job's, after rules that flags stand for.
func (o *CheckpointOptions) rules() (*policy.Policy, error) {
	p := o.Policy
	if p == nil {
		var err error
		if p, err = ReadJobPolicy(o.Target.Policy); err != nil {
			return nil, err
		}
	}
	return p.With(o.Rules, nil), nil
}
