package supervisor

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestRuntimeVars holds us to what inherit.go relies on in the Go runtime: a
// version of Go that changes it fails here.
func TestRuntimeVars(t *testing.T) {
	if os.Getenv("SUPERVISE_TEST_RUNTIME_VARS") == "" {
		// `go test` strips the binary that it runs, but not one that it keeps.
		binary := filepath.Join(t.TempDir(), "test")
		if b, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		cmd := exec.Command("sh", "-c", `trap "" TERM; exec "$@"`, "x", binary, "-test.run", "^TestRuntimeVars$")
		cmd.Env = append(os.Environ(), "SUPERVISE_TEST_RUNTIME_VARS=1")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		return
	}
	vars, err := runtimeVars("runtime.fwdSig", "runtime.initSigmask")
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(vars[0][8*15:]); got != 1 {
		t.Errorf("disposition of SIGTERM before the runtime: %#x, want SIG_IGN", got)
	}
	if got := binary.LittleEndian.Uint64(vars[0][8*10:]); got != 0 {
		t.Errorf("disposition of SIGUSR1 before the runtime: %#x, want SIG_DFL", got)
	}
}
