package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The places that all tests share. Everybody may read them.
var (
	baseDir   string // everything else lies here
	binDir    string // test programs
	supervise string // the binary under test
	dataDir   string // testdata
)

// The main thread stays with TestMain: a test may take its own thread into
// namespaces, and /proc/self shows those of the main thread.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	unix.Umask(0o022)
	_ = unix.CloseRange(3, 1<<30, unix.CLOSE_RANGE_CLOEXEC) // what whoever runs the tests has leaked
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set(strconv.Itoa(runtime.NumCPU() + 1)) // they wait more than they compute
	}
	before := mounts()
	err := setUp()
	defer os.RemoveAll(baseDir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	code := m.Run()
	removeSysV()
	for mount := range mounts() {
		if _, ok := before[mount]; !ok && strings.Contains(mount, baseDir) {
			fmt.Fprintln(os.Stderr, "integration: mount left behind:", mount)
			code = 1
		}
	}
	return code
}

// mounts is the set of lines of mountinfo.
func mounts() map[string]struct{} {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	set := make(map[string]struct{})
	for line := range strings.Lines(string(b)) {
		set[line] = struct{}{}
	}
	return set
}

// setUp builds the binary and the test programs, and puts everything where an
// ordinary user can get at it.
func setUp() (err error) {
	if baseDir, err = os.MkdirTemp("", "supervise-integration-"); err != nil {
		return err
	}
	if err := os.Chmod(baseDir, 0o755); err != nil {
		return err
	}
	binDir = filepath.Join(baseDir, "bin")
	dataDir = filepath.Join(baseDir, "testdata")
	supervise = filepath.Join(baseDir, "supervise")
	if err := os.Mkdir(binDir, 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(dataDir, os.DirFS("testdata")); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(baseDir, "python"), os.DirFS("../plugins/python")); err != nil {
		return err
	}
	builds := []func() error{buildC, buildGo}
	errs := make([]error, len(builds))
	var wg sync.WaitGroup
	for i, build := range builds {
		wg.Go(func() { errs[i] = build() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// command runs a command of a build.
func command(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// buildGo builds supervise and the test programs in Go. SUPERVISE_BIN names a
// ready binary to test instead.
func buildGo() error {
	static := []string{"CGO_ENABLED=0"}
	if ready := os.Getenv("SUPERVISE_BIN"); ready != "" {
		if err := command(nil, "install", "-m", "755", ready, supervise); err != nil {
			return err
		}
	} else if err := command(static, "go", "build", "-o", supervise, "supervise/cmd/supervise"); err != nil {
		return err
	}
	if err := command(static, "go", "build", "-o", filepath.Join(binDir, "othervdso"), "./testdata/go/othervdso"); err != nil {
		return err
	}
	if err := command(static, "go", "build", "-o", filepath.Join(binDir, "goweb"), "./testdata/go/web"); err != nil {
		return err
	}
	if err := command(static, "go", "build", "-o", filepath.Join(binDir, "goh2"), "./testdata/go/h2"); err != nil {
		return err
	}
	return command(static, "go", "build", "-o", filepath.Join(binDir, "goruntime"), "./testdata/go/runtime")
}

// buildC compiles the test programs in C, a few at a time.
func buildC() error {
	sources, err := filepath.Glob("testdata/c/*.c")
	if err != nil {
		return err
	}
	errs := make(chan error, len(sources))
	slots := make(chan struct{}, runtime.NumCPU())
	for _, source := range sources {
		slots <- struct{}{}
		go func() {
			name := strings.TrimSuffix(filepath.Base(source), ".c")
			errs <- command(nil, "gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", "../plugins/include",
				"-o", filepath.Join(binDir, name), source, "-lm")
			<-slots
		}()
	}
	for range sources {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}
