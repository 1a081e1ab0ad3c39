package memimg

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var makeGolden = flag.Bool("golden", false, "make the golden image of this format, where there is none")

// goldenMemory is what the golden images hold, whatever their format: space 1
// is like an address space, space 2 like a shared memory object.
func goldenMemory() map[uint32]*memory {
	a, b := newMemory(), newMemory()
	for i, addr := range []uint64{0x400000, 0x401000, 0x7ffffffff000} {
		a.pages[addr] = bytes.Repeat([]byte{byte('a' + i)}, PageSize)
	}
	b.pages[0] = bytes.Repeat([]byte("golden\n\x00"), PageSize/8)
	return map[uint32]*memory{1: a, 2: b}
}

func writeGolden(t *testing.T, dir string) {
	t.Helper()
	mem := goldenMemory()
	w := mustCreate(t, dir)
	dumps := []Dump{
		{1, mem[1], []Range{{0x400000, 0x403000}, {0x7fffffffe000, 0x7ffffffff000 + PageSize}}},
		{2, mem[2], []Range{{0, PageSize}}},
	}
	if err := w.WritePages(dumps, nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w)
}

// TestGolden reads an image of format 1 as it was written when that format was
// new. testdata/v1 is never changed; a new format gets a new directory.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	if *makeGolden && !IsSnapshot(dir) {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		writeGolden(t, dir)
	}
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := testManifest()
	if m.Format != 1 || m.Host != want.Host || m.Summary.Job != "job" || !m.Created.Equal(want.Created) {
		t.Errorf("got %+v", m)
	}
	checkImage(t, dir, m, goldenMemory())
}

// TestWritesGolden writes the golden image again, and gets the same bytes.
func TestWritesGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	writeGolden(t, dir)
	for _, name := range imageFiles {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", "v1", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%q\nwant\n%q", name, got, want)
		}
	}
}
