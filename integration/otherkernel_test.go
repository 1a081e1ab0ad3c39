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
