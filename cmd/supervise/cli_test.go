package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/restorer"
	"supervise/supervisor"
	"supervise/tracer"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitOther},
		{&usageError{errors.New("x")}, exitUsage},
		{&tracer.StateError{Err: &refuse.Error{}}, exitUnsupported},
		{&imageError{&supervisor.FoundImage{Dir: "d"}, &memimg.FormatError{}}, exitDamaged},
		{&imageError{&supervisor.FoundImage{Dir: "d"}, memimg.ErrUnfinished}, exitDamaged},
		{&imageError{&supervisor.FoundImage{Dir: "d"}, os.ErrNotExist}, exitDamaged},
		{os.ErrNotExist, exitOther},
		{&ownError{&imageError{&supervisor.FoundImage{Dir: "d"}, &memimg.FormatError{}}}, exitDamaged},
		{&restorer.HostError{}, exitHost},
		{&ownError{&restorer.HostError{}}, exitHost},
		{&memimg.VersionError{}, exitHost},
		{fmt.Errorf("x: %w", task.ErrGone), exitGone},
		{supervisor.ErrNoJob, exitGone},
		{&supervisor.NoImageError{}, exitDamaged},
		{&supervisor.StaleError{}, exitStale},
		{errors.Join(task.ErrGone, &supervisor.StaleError{}), exitGone},
		{&ownError{task.ErrGone}, exitOwn},
		{&ownError{&supervisor.StartError{Err: unix.ENOENT}}, exitNotFound},
		{&ownError{&supervisor.StartError{Err: unix.EACCES}}, exitCannotRun},
		{&codedError{code: exitHost}, exitHost},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%T %v: %d, want %d", c.err, c.err, got, c.want)
		}
	}
}

// TestMessages: the first lines that commands print on standard error, and
// their exit codes.
func TestMessages(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"nonsense"}, 2, "supervise: unexpected argument nonsense\nsupervise: hint: supervise --help lists commands and flags\n"},
		{[]string{"checkpoint"}, 2, "supervise: expected \"<pid|name>\"\n"},
		{[]string{"checkpoint", "99999999"}, 6, "supervise: pid 99999999: no such process\n"},
		{[]string{"checkpoint", "none", "--dir", empty}, 6,
			"supervise: \"none\" in " + empty + ": no such job\nsupervise: hint: give a pid, or the directory of the job with --dir\n"},
		{[]string{"checkpoint", "a/b"}, 2, "supervise: job name \"a/b\": has a slash\n"},
		{[]string{"checkpoint", fmt.Sprint(os.Getpid())}, 1, "supervise: snapshot of pid "},
		{[]string{"snapshot"}, 2, "supervise: snapshot: expected either a pid or the name of a job, or --pid-file\n"},
		{[]string{"snapshot", "1", "--pid-file", "x"}, 2, "supervise: snapshot: expected either a pid"},
		{[]string{"snapshot", "1", "--keep=-1"}, 2, "supervise: snapshot: cannot keep fewer than no snapshots\n"},
		{[]string{"snapshot", "x", "--name", ".x", "--dir", empty}, 2, "supervise: job name \".x\": begins with '.'\n"},
		{[]string{"snapshot", "--pid-file", "/nonexistent"}, 6, "supervise: /nonexistent: no such pid file\n"},
		{[]string{"snapshot", "--pid-file", "/etc/passwd"}, 1, "supervise: /etc/passwd: \"root:x:0:0:root:/roo\" is not a pid\n"},
		{[]string{"snapshot", "99999999", "--dir", empty, "--max-age", "1h"}, 6,
			"supervise: pid 99999999: no such process\nsupervise: job 99999999 has no good snapshot\n"},
		{[]string{"images", "prune", "--dir", empty}, 2, "supervise: expected --keep, --keep-hourly, --keep-daily or --keep-weekly\n"},
		{[]string{"images", "remove", "job", "--dir", empty}, 2, "supervise: job: expected NAME@NUMBER\n"},
		{[]string{"images", "remove", "job@1", "--dir", empty}, 4, "supervise: job \"job\" has no images in "},
		{[]string{"images", "job", "--dir", empty}, 4, "supervise: job \"job\" has no images in "},
		{[]string{"restart", "job", "--dir", empty}, 4, "supervise: job: no such image: neither a directory nor a job in "},
		{[]string{"restart", "/nonexistent"}, 4, "supervise: /nonexistent: there is no such image\n"},
		{[]string{"restart", "--detach", "/nonexistent"}, 4, "supervise: /nonexistent: there is no such image\n"},
		{[]string{"restart", empty}, 4, "supervise: " + empty + ": not a finished snapshot"},
		{[]string{"inspect", empty}, 4, "supervise: " + empty + ": not a finished snapshot"},
		{[]string{"verify", "/etc/passwd"}, 4, "supervise: "},
	} {
		var stdout, stderr bytes.Buffer
		code := run(c.args, &stdout, &stderr)
		if code != c.code || !strings.HasPrefix(stderr.String(), c.stderr) || stdout.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d; stdout %q, stderr\n%s", c.args, code, c.code, &stdout, &stderr)
		}
	}
}

// TestHints: advice on errors that a user can do something about.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", &task.TracedError{Tracer: 12, Comm: "gdb"}), "end or detach the debugger or strace that pid 12 is"},
		{&supervisor.PolicyError{Err: unix.ENOENT, OfJob: true}, "--policy /dev/null none"},
		{&supervisor.PolicyError{Err: unix.ENOENT}, ""},
		{fmt.Errorf("x: %w", unix.ENOSPC), "the device is full"},
	} {
		if got := hint(c.err); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// TestFail: what a refused snapshot says.
func TestFail(t *testing.T) {
	var stderr bytes.Buffer
	newOutput(nil, &stderr).fail(&tracer.StateError{PID: 12, State: "left running", Err: &refuse.Error{Objects: []refuse.Object{
		{PID: 13, Comm: "x", What: "fd 7 (socket:[1])", Why: "unix socket", Hint: "close it"},
	}}})
	want := `supervise: 1 object(s) cannot be captured
supervise:   pid 13 (x): fd 7 (socket:[1]): unix socket: not supported
supervise:     hint: close it
supervise: process tree 12 left running
`
	if stderr.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &stderr, want)
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "supervise ") || stderr.Len() > 0 {
			t.Errorf("%q: %d %q %q", args, code, &stdout, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--help"}, &stdout, &stderr); code != 0 {
		t.Errorf("--help: %d %s", code, &stderr)
	}
	for _, c := range exitCodes {
		if !strings.Contains(stdout.String(), fmt.Sprintf("%7d  %s\n", c.Code, c.Meaning)) {
			t.Errorf("usage does not list exit code %d:\n%s", c.Code, &stdout)
		}
	}
}

func TestCheckJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run([]string{"check", "--json", "--dir", t.TempDir()}, &stdout, &stderr)
	var facts checkFacts
	if err := json.Unmarshal(stdout.Bytes(), &facts); err != nil {
		t.Fatal(err)
	}
	if works := facts.Snapshot && facts.Restart; works != (code == 0) || len(facts.Features) == 0 {
		t.Errorf("exit code %d, %+v", code, facts)
	}
}

func TestProgressLine(t *testing.T) {
	got := progressLine("writing", 256<<20, 1<<30, 2*time.Second)
	if want := "supervise: writing 256.0 MiB of 1.0 GiB (25 %), 128.0 MiB/s, 6s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got = progressLine("stopping the tree", 0, 0, 2400*time.Millisecond)
	if want := "supervise: stopping the tree (2s)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, phase := range slices.Concat(plugins.SnapshotPhases, plugins.RestartPhases) {
		if phaseVerbs[phase] == "" {
			t.Errorf("nothing to say in phase %s", phase)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 40: "5.0 TiB"} {
		if got := byteCount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
