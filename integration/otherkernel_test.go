package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// machine is one that boots the kernel that SUPERVISE_KERNEL names;
// scripts/other-kernel.sh gets some.
type machine struct {
	*place
	kernel string
	fs     archive
	steps  []step
}

// step is one of testdata/go/otherinit.
type step struct {
	Name    string
	Argv    []string
	UID     uint32
	Seconds int
	Stay    bool
	Await   string
}

func newMachine(t *testing.T) *machine {
	kernel := os.Getenv("SUPERVISE_KERNEL")
	if kernel == "" {
		t.Skip("SUPERVISE_KERNEL names no kernel")
	}
	m := &machine{place: newPlace(t, root), kernel: kernel}
	must(t, command([]string{"CGO_ENABLED=0"}, "go", "build", "-o", m.path("init"), "./testdata/go/otherinit"))
	m.fs.file(t, "/init", m.path("init"))
	m.fs.file(t, supervise, supervise)
	m.fs.dir(m.path("work") + "/go")
	m.fs.dir(m.logFile())
	const loader = "/lib64/ld-linux-x86-64.so.2" // a link here, to what is mapped
	m.fs.file(t, loader, loader)
	return m
}

// files copies files to where they are here.
func (m *machine) files(paths ...string) {
	for _, f := range paths {
		if f != supervise {
			m.fs.file(m.t, f, f)
		}
	}
}

func (m *machine) step(s step) { m.steps = append(m.steps, s) }

// boot runs the steps on some cpu, and gives what each has printed.
func (m *machine) boot(cpu string) (said map[string]string) {
	m.t.Helper()
	steps, err := json.Marshal(m.steps)
	must(m.t, err)
	m.fs.entry("/steps", 0o100644, steps)
	m.fs.entry("TRAILER!!!", 0, nil)
	must(m.t, os.WriteFile(m.path("initrd"), m.fs.Bytes(), 0o600))
	out, err := exec.Command("timeout", "300", "qemu-system-x86_64", "-accel", "tcg", "-cpu", cpu, "-m", "1024", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", m.kernel, "-initrd", m.path("initrd"), "-append", "console=ttyS0 quiet panic=-1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "otherinit: end") {
		m.t.Fatalf("%v\n%s", err, out)
	}
	said = map[string]string{}
	for _, part := range regexp.MustCompile(`(?s)<step ([^>]*)>\s*(.*?)</step>`).FindAllStringSubmatch(strings.ReplaceAll(string(out), "\r", ""), -1) {
		said[part[1]] = strings.TrimSpace(part[2])
	}
	return said
}

// imageOf takes a snapshot of a program here, for the machine.
func (m *machine) imageOf(prog program) (image string) {
	j := m.start(prog)
	files := append(mappedFiles(j.root), m.logFile())
	image = m.path("image")
	m.checkpoint(j.pid(), image, "--stop")
	j.gone()
	parts, err := filepath.Glob(image + "/*")
	must(m.t, err)
	m.files(append(files, parts...)...)
	return image
}

// TestOtherKernel restarts a program under another kernel, with another vDSO.
func TestOtherKernel(t *testing.T) {
	m := newMachine(t)
	prog := one("vdso").rootOnly()
	// The emulated CPU has no AVX-512, and what the dynamic linker found out
	// about this one would not hold there.
	prog.argv = func() []string {
		return []string{"/usr/bin/env", "LD_BIND_NOW=1",
			"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS", filepath.Join(binDir, "vdso")}
	}
	image := m.imageOf(prog)
	m.step(step{Name: "restart", Argv: []string{supervise, "restart", image, "--detach"}})
	m.step(step{Name: "go", Argv: []string{"write", m.goFile() + "="}})
	m.step(step{Name: "end", Argv: []string{supervise, "ps"}, Await: m.logFile()})
	said := m.boot("max")
	if !strings.HasSuffix(said["end"], "ready ok") {
		t.Errorf("%q", said)
	}
}

// TestLesserCPU: what the tree uses and the other cpu lacks is refused by name.
func TestLesserCPU(t *testing.T) {
	m := newMachine(t)
	image := m.imageOf(one("fpu").rootOnly())
	m.step(step{Name: "restart", Argv: []string{supervise, "restart", image, "--detach"}})
	said := m.boot("qemu64")
	if !strings.Contains(said["restart"], "the cpu lacks what the tree uses: XSAVE, AVX") || !strings.Contains(said["restart"], "exit 5") {
		t.Errorf("%s", said["restart"])
	}
}

// TestYama asks for snapshots and restarts at every kernel.yama.ptrace_scope, as root and as an ordinary user.
func TestYama(t *testing.T) {
	m := newMachine(t)
	const ordinary = 65534
	users := []struct {
		name string
		uid  uint32
	}{{"root", 0}, {"user", ordinary}}
	sleep := exec.Command("sleep", "100") // with which check tries things out
	must(t, sleep.Start())
	wait(t, "sleep", 10*time.Second, func() string {
		if len(mappedFiles(sleep.Process.Pid)) < 3 {
			return "starts"
		}
		return ""
	})
	m.files(mappedFiles(sleep.Process.Pid)...)
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	m.step(step{Name: "open", Argv: []string{"write", "/proc/sys/kernel/yama/ptrace_scope=0"}})
	for _, u := range users {
		jobs := "/tmp/" + u.name // made by the first
		m.step(step{Name: "start " + u.name, Argv: []string{supervise, "run", "--name", "job", "--dir", jobs, "--", "/init", "sleep"}, UID: u.uid, Stay: true})
		m.step(step{Name: "other " + u.name, Argv: []string{"/init", "sleep"}, UID: u.uid, Stay: true})
		m.step(step{Name: "image " + u.name, Argv: []string{supervise, "checkpoint", "job", "--dir", jobs}, UID: u.uid})
	}
	for scope := range 4 {
		m.step(step{Name: fmt.Sprint("scope ", scope), Argv: []string{"write", fmt.Sprintf("/proc/sys/kernel/yama/ptrace_scope=%d", scope)}})
		for _, u := range users {
			at := fmt.Sprintf(" %s %d", u.name, scope)
			dir := "--dir=/tmp/" + u.name
			m.step(step{Name: "check" + at, Argv: []string{supervise, "check"}, UID: u.uid})
			m.step(step{Name: "checkpoint" + at, Argv: []string{supervise, "checkpoint", "job", dir}, UID: u.uid})
			m.step(step{Name: "restart" + at, Argv: []string{supervise, "restart", "job@0001", "--detach", dir}, UID: u.uid})
			m.step(step{Name: "attach" + at, Argv: []string{supervise, "attach", "@other " + u.name, dir}, UID: u.uid, Seconds: 10})
		}
	}
	said := m.boot("max")
	const denied = "operation not permitted"
	for what, want := range map[string]string{
		"image root": "exit 0", "image user": "exit 0",
		"checkpoint root 0": "exit 0", "restart root 0": "exit 0", "check root 0": "snapshots: work",
		"checkpoint root 1": "exit 0", "restart root 1": "exit 0", "check root 1": "snapshots: work",
		"checkpoint root 2": "exit 0", "restart root 2": "exit 0", "check root 2": "snapshots: work",
		"checkpoint root 3": denied, "restart root 3": denied, "check root 3": "would enable it: a reboot",
		"checkpoint user 0": "exit 0", "restart user 0": "exit 0", "check user 0": "snapshots: work",
		"checkpoint user 1": denied, "restart user 1": "exit 0", "check user 1": "kernel.yama.ptrace_scope=0 (it is 1), or CAP_SYS_PTRACE",
		"checkpoint user 2": denied, "restart user 2": "exit 0", "check user 2": "kernel.yama.ptrace_scope=0 (it is 2), or CAP_SYS_PTRACE",
		"checkpoint user 3": denied, "restart user 3": denied, "check user 3": "would enable it: a reboot",
		"attach root 2": "the tree runs on", "attach root 3": "denied", "attach user 0": "the tree runs on", "attach user 1": "denied",
	} {
		if !strings.Contains(said[what], want) {
			t.Errorf("%s: want %s\n%s", what, want, said[what])
		}
	}
}

// mappedFiles lists the files that a process has mapped.
func mappedFiles(pid int) (files []string) {
	seen := make(map[string]bool)
	for line := range strings.Lines(slurp(procPath(pid, "maps"))) {
		if f := strings.Fields(line); len(f) == 6 && f[4] != "0" && !seen[f[5]] {
			seen[f[5]] = true
			files = append(files, f[5])
		}
	}
	return files
}

// archive is an initramfs (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	bytes.Buffer
	dirs map[string]bool
	n    int
}

func (a *archive) entry(name string, mode uint32, data []byte) {
	a.n++
	name = strings.TrimPrefix(name, "/") + "\x00"
	fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
	for _, part := range []string{name, string(data)} {
		a.WriteString(part)
		a.Write(make([]byte, -a.Len()&3))
	}
}

// dir adds the directories above a file.
func (a *archive) dir(file string) {
	d := filepath.Dir(file)
	if d == "/" || a.dirs[d] {
		return
	}
	a.dir(d)
	if a.dirs == nil {
		a.dirs = make(map[string]bool)
	}
	a.dirs[d] = true
	a.entry(d, 0o40755, nil)
}

func (a *archive) file(t testing.TB, name, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	a.dir(name)
	a.entry(name, 0o100755, data)
}
