package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// forUsers runs fn as each user.
func forUsers(t *testing.T, fn func(p *place)) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			fn(newPlace(t, u))
		})
	}
}

// refuses takes a snapshot that must fail with one of the exit codes, say why,
// and leave the tree as it was.
func (j *job) refuses(before state, image string, codes []int, words ...string) {
	j.t.Helper()
	r := j.p.supervise(nil, "checkpoint", j.pid(), "--image", image)
	if !slices.Contains(codes, r.code) {
		j.t.Errorf("exit code %d, want %v\n%s", r.code, codes, r.err)
	}
	for _, w := range append(words, "left running") {
		if !strings.Contains(r.err, w) {
			j.t.Errorf("the message has no %q:\n%s", w, r.err)
		}
	}
	j.undisturbed(before)
}

// TestFullDisk fills the disk with a snapshot that is too large for it.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	forUsers(t, func(p *place) {
		for _, size := range []string{"64k", "1m", "4m"} {
			disk := p.path("disk")
			must(p.t, os.MkdirAll(disk, 0o755))
			must(p.t, unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%s,uid=%d,mode=755", size, p.user.uid)))
			unmount := func() { unix.Unmount(disk, unix.MNT_DETACH) }
			p.t.Cleanup(unmount)
			os.Remove(p.goFile())
			os.Remove(p.logFile())
			j := p.start(one("anon"))
			before := j.settle()
			j.refuses(before, filepath.Join(disk, "image"), []int{1}, "no space left")
			p.nothingIn("disk")
			p.checkpoint(j.pid(), p.path("elsewhere"+size))
			j.undisturbed(before)
			j.finish(1)
			unmount()
		}
	})
}

// TestUnwritable wants a snapshot where none can be.
func TestUnwritable(t *testing.T) {
	forUsers(t, func(p *place) {
		must(p.t, os.Mkdir(p.path("full"), 0o755))
		must(p.t, os.WriteFile(p.path("full/file"), nil, 0o644))
		must(p.t, os.Chown(p.path("full"), p.user.uid, p.user.uid))
		must(p.t, os.Mkdir(p.path("foreign"), 0o755))
		j := p.start(one("pipes"))
		before := j.settle()
		places := map[string]string{
			"/proc/nowhere":     "/proc/nowhere",
			"/dev/null":         "/dev/null",
			"/dev/null/image":   "/dev/null",
			p.path("full"):      "not empty",
			p.path("full/file"): "full/file",
		}
		if p.user.uid != 0 {
			places[p.path("foreign/image")] = "permission denied"
		}
		for image, word := range places {
			j.refuses(before, image, []int{1}, word)
		}
		p.nothingIn("foreign")
		j.finish(1)
	})
}

// imageFiles are the files of an image.
func imageFiles(t testing.TB, image string) (names []string) {
	entries, err := os.ReadDir(image)
	must(t, err)
	for _, e := range entries {
		names = append(names, filepath.Join(image, e.Name()))
	}
	return names
}

// refused checks that an image is refused by verify and by restart, with an
// exit code and a message, and that nothing of it runs.
func (p *place) refused(image, what string, code int, words ...string) {
	p.t.Helper()
	v := p.supervise(nil, "verify", image)
	if v.code != code {
		p.t.Errorf("%s: verify: exit code %d, want %d\n%s%s", what, v.code, code, v.out, v.err)
	}
	p.notRestarted(image, what, code, words...)
}

// notRestarted checks that a restart is refused.
func (p *place) notRestarted(image, what string, code int, words ...string) {
	p.t.Helper()
	h := p.hold(launch{argv: []string{supervise, "restart", image, "--pid-file", p.path("pid")}})
	wait(p.t, what+": restart ends", 20e9, func() string {
		s, ok := h.exited(h.child)
		if !ok {
			return "runs on: " + h.out.String()
		}
		if got := shellStatus(s); got != code {
			p.t.Errorf("%s: restart: exit code %d, want %d\n%s", what, got, code, h.out.String())
		}
		return ""
	})
	h.nothingLeft(what)
	h.close()
	for _, w := range words {
		if !strings.Contains(h.out.String(), w) {
			p.t.Errorf("%s: the message has no %q: %s", what, w, h.out.String())
		}
	}
	if _, err := os.Stat(p.path("pid")); err == nil {
		p.t.Errorf("%s: wrote its pid file", what)
	}
}

// TestDamage flips bits in every file of an image, and cuts, extends and
// removes each.
func TestDamage(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := row(p.t, "shared")
		before := p.fresh(prog, p.path("image"))
		for _, name := range imageFiles(p.t, p.path("image")) {
			good, err := os.ReadFile(name)
			must(p.t, err)
			base := filepath.Base(name)
			try := func(what string, bad []byte) {
				must(p.t, os.WriteFile(name, bad, 0o600))
				p.refused(p.path("image"), base+": "+what, 4, base)
			}
			for range 10 {
				at, bit := rand.IntN(len(good)), rand.IntN(8)
				bad := bytes.Clone(good)
				bad[at] ^= 1 << bit
				try(fmt.Sprintf("bit %d of byte %#x flipped", bit, at), bad)
			}
			for _, size := range []int{0, 1, rand.IntN(len(good)), rand.IntN(len(good)), len(good) - 1} {
				try(fmt.Sprintf("cut to %d of %d bytes", size, len(good)), good[:size])
			}
			try("one byte more", append(bytes.Clone(good), 0))
			must(p.t, os.Remove(name))
			p.refused(p.path("image"), base+": removed", 4)
			must(p.t, os.WriteFile(name, good, 0o600))
			must(p.t, os.Chown(name, p.user.uid, p.user.uid))
		}
		again := p.restart(prog, p.path("image"))
		again.like(before)
		again.finish(1)
	})
}

// TestNewerFormat gives the manifest a format of the future, well sealed.
func TestNewerFormat(t *testing.T) {
	forUsers(t, func(p *place) {
		p.fresh(row(p.t, "pipes"), p.path("image"))
		name := p.path("image/manifest.json")
		good, err := os.ReadFile(name)
		must(p.t, err)
		body, _, ok := bytes.Cut(good, []byte(`  "sum": "`))
		if !ok {
			p.t.Fatalf("no seal in %s", good)
		}
		body = bytes.Replace(body, []byte(`"format": 1,`), []byte(`"format": 2,`), 1)
		sum := sha256.Sum256(body)
		must(p.t, os.WriteFile(name, slices.Concat(body, []byte(`  "sum": "`), []byte(hex.EncodeToString(sum[:])), []byte("\"\n}\n")), 0o600))
		p.refused(p.path("image"), "newer format", 5, "newer")
	})
}

// TestMissingFiles takes away what lies outside the image.
func TestMissingFiles(t *testing.T) {
	cases := []struct {
		name, prog, file string
		spoil            func(name string) error
	}{
		{"mapped file gone", "filemap", "mapped", os.Remove},
		{"mapped file shorter", "filemap", "mapped", func(n string) error { return os.Truncate(n, 4096) }},
		{"open file gone", "files", "log", os.Remove},
		{"open file shorter", "files", "a", func(n string) error { return os.Truncate(n, 100) }},
		{"working directory gone", "attributes", "sub", os.Remove},
		{"program gone", "own", "program", os.Remove},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				prog := program{name: "own", argv: func() []string { return []string{p.path("work/program")} }}
				b, err := os.ReadFile(filepath.Join(binDir, "pipes"))
				must(p.t, err)
				must(p.t, os.WriteFile(p.path("work/program"), b, 0o755))
				if c.prog != "own" {
					prog = row(p.t, c.prog)
				}
				p.fresh(prog, p.path("image"))
				must(p.t, c.spoil(p.path("work/"+c.file)))
				p.notRestarted(p.path("image"), c.name, 5, "work/"+c.file)
			})
		})
	}
}

// TestRefused wants a snapshot of a tree with things in it that cannot be
// captured. When one of them can be, its row moves to the programs.
func TestRefused(t *testing.T) {
	kinds := []string{"io_uring", "userfaultfd", "mqnotify",
		"threadshares", "landlock", "seccomp", "seccompkill", "strict",
		"vsock", "xdp", "alg", "sctp", "rds", "bluetooth", "connector", "corked", "answer", "ring", "sockbpf", "ping", "offload",
		"io_uring userfaultfd mqnotify"}
	says := map[string]string{
		"vsock": "vsock stream socket, at 4294967295:4294967295: the other end is on another machine", "xdp": "xdp raw socket: it shares its rings",
		"alg": "alg seqpacket socket: keys", "sctp": "ipv4 sctp socket: the kernel", "rds": "rds seqpacket socket: the kernel",
		"bluetooth": "bluetooth seqpacket socket: the other end", "connector": "a netlink socket of protocol 11",
		"corked": "it has data that it has not sent yet", "answer": "messages of the kernel wait to be read", "ring": "PACKET_RX_RING",
		"sockbpf": "SO_ATTACH_BPF", "offload": "TUNSETOFFLOAD", "ping": "packets wait to be read from it",
	}
	for _, kind := range kinds {
		t.Run(strings.ReplaceAll(kind, " ", "+"), func(t *testing.T) {
			forUsers(t, func(p *place) {
				if kind == "seccomp" && p.user.uid == 0 {
					p.t.Skip("root may read filters: see the program seccomp")
				}
				prog := one("objects").with(strings.Fields(kind)...)
				j := &job{holder: p.hold(launch{argv: p.argv(prog)}), p: p, prog: prog}
				j.root = j.child
				wait(p.t, "objects", 10e9, func() string {
					if log := slurp(p.logFile()); strings.Contains(log, "lacks") {
						p.t.Skip(log)
					} else if !strings.Contains(log, "ready") {
						return "log: " + log
					}
					return ""
				})
				before := j.settle()
				r := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image"))
				if n := strings.Count(r.err, "not supported"); r.code != 3 || n < len(strings.Fields(kind)) {
					p.t.Errorf("exit code %d, %d objects named\n%s", r.code, n, r.err)
				}
				if !strings.Contains(r.err, says[kind]) {
					p.t.Errorf("the message does not say %q: %s", says[kind], r.err)
				}
				if !strings.Contains(r.err, "left running") {
					p.t.Errorf("the message does not say that the tree is left running: %s", r.err)
				}
				p.nothingIn("image")
				j.undisturbed(before)
				j.finish(1)
			})
		})
	}
}

// TestTraced wants a snapshot of a tree in which one process traces another.
func TestTraced(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("objects").with("traced"))
		r := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image"))
		if r.code != 1 && r.code != 3 || !strings.Contains(r.err, "traced by") || !strings.Contains(r.err, "left running") {
			p.t.Errorf("exit code %d\n%s", r.code, r.err)
		}
		p.nothingIn("image")
		j.finish(1)
	})
}

// TestNoTree names trees that are not there, or not ours.
func TestNoTree(t *testing.T) {
	forUsers(t, func(p *place) {
		for target, code := range map[string]int{"32767000": 6, "nosuchjob": 6, "2": 1} {
			r := p.supervise(nil, "checkpoint", target, "--image", p.path("image"))
			if r.code != code || strings.Contains(r.err, "goroutine") {
				p.t.Errorf("checkpoint %s: exit code %d, want %d\n%s", target, r.code, code, r.err)
			}
			p.nothingIn("image")
		}
		for _, command := range []string{"verify", "inspect", "restart"} {
			if r := p.supervise(nil, command, p.path("nosuchimage")); r.code != 4 {
				p.t.Errorf("%s of no image: exit code %d\n%s", command, r.code, r.err)
			}
			if r := p.supervise(nil, command, p.path("work")); r.code != 4 {
				p.t.Errorf("%s of an empty directory: exit code %d\n%s", command, r.code, r.err)
			}
		}
	})
}
