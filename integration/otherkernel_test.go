package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherKernel restarts a program under the kernel that SUPERVISE_KERNEL
// names, in an emulated machine; scripts/other-kernel.sh gets one.
func TestOtherKernel(t *testing.T) {
	kernel := os.Getenv("SUPERVISE_KERNEL")
	if kernel == "" {
		t.Skip("SUPERVISE_KERNEL names no kernel")
	}
	p := newPlace(t, root)
	prog := one("vdso").rootOnly()
	// The emulated CPU has no AVX-512, and what the dynamic linker found out
	// about this one would not hold there.
	prog.argv = func() []string {
		return []string{"/usr/bin/env", "LD_BIND_NOW=1",
			"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS", filepath.Join(binDir, "vdso")}
	}
	j := p.start(prog)
	files := append(mappedFiles(j.root), supervise, p.logFile())
	p.checkpoint(j.pid(), p.path("image"), "--stop")
	j.gone()
	parts, err := filepath.Glob(p.path("image/*"))
	must(t, err)

	init := p.path("init")
	must(t, command([]string{"CGO_ENABLED=0"}, "go", "build", "-o", init, "./testdata/go/otherinit"))
	var fs archive
	fs.file(t, "/init", init)
	for _, f := range append(files, parts...) {
		fs.file(t, f, f)
	}
	fs.dir(p.path("work") + "/go")
	fs.entry("/args", 0o100644, []byte(strings.Join([]string{supervise, p.path("image"), p.goFile(), p.logFile()}, "\n")))
	fs.entry("TRAILER!!!", 0, nil)
	must(t, os.WriteFile(p.path("initrd"), fs.Bytes(), 0o600))

	out, err := exec.Command("timeout", "120", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nographic", "-no-reboot",
		"-kernel", kernel, "-initrd", p.path("initrd"), "-append", "console=ttyS0 quiet panic=-1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "otherinit: ready ok") {
		t.Errorf("%v\n%s", err, out)
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

func (a *archive) file(t *testing.T, name, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	a.dir(name)
	a.entry(name, 0o100755, data)
}
