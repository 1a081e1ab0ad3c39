package integration

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplacedProgram replaces a program between
// snapshot and restart: another build is refused with both identities, unless
// forced; another time of change is not.
func TestReplacedProgram(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			file := p.path("work/copied")
			content, err := os.ReadFile(filepath.Join(binDir, "tls"))
			must(t, err)
			must(t, os.WriteFile(file, content, 0o755))
			prog := one("tls")
			prog.argv = func() []string { return []string{file} }
			j := p.start(prog)
			before := j.settle()
			p.checkpoint(j.pid(), p.path("image"), "--stop")
			j.gone()

			replace(t, file, content)
			again := p.restart(prog, p.path("image"))
			again.like(before)
			again.killTree()
			again.close()

			was, is := otherBuild(t, content)
			replace(t, file, content)
			r := p.supervise(nil, "restart", p.path("image"), "--detach")
			if r.code != 5 || !strings.Contains(r.err, was) || !strings.Contains(r.err, is) || !strings.Contains(r.err, "--force") {
				t.Errorf("another build: exit code %d: %s", r.code, r.err)
			}
			again = p.restart(prog, p.path("image"), "--force")
			again.like(before)
			again.finish(1)

			replace(t, file, append(content, "more"...))
			r = p.supervise(nil, "restart", p.path("image"), "--detach")
			if r.code != 5 || !strings.Contains(r.err, "size ") {
				t.Errorf("another size: exit code %d: %s", r.code, r.err)
			}
		})
	}
}

// replace puts another file in the place of file, as package managers do.
func replace(t *testing.T, file string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(file+".new", content, 0o755))
	must(t, os.Rename(file+".new", file))
}

// otherBuild changes the build id in a program, and gives the old and the new one.
func otherBuild(t *testing.T, program []byte) (was, is string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	must(t, err)
	s := f.Section(".note.gnu.build-id")
	if s == nil {
		t.Fatal("the C compiler writes no build ids")
	}
	const header = 16
	id := program[s.Offset+header : s.Offset+s.FileSize]
	was = hex.EncodeToString(id)
	id[0] ^= 0xff
	return was, hex.EncodeToString(id)
}
