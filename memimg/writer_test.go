package memimg

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func mustCreate(t testing.TB, dir string) *Writer {
	t.Helper()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustCommit(t testing.TB, w *Writer) Manifest {
	t.Helper()
	m, err := w.Commit(testManifest(), []byte("some records"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustOpen(t testing.TB, dir string) *Image {
	t.Helper()
	im, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// testManifest has a value in every field that a caller gives.
func testManifest() Manifest {
	return Manifest{
		Program: "v0.0.1-test",
		Created: time.Date(2026, 11, 23, 3, 45, 6, 789, time.UTC),
		Host:    Host{Name: "host", Kernel: "6.18.0", Arch: "amd64", XFeatures: 0x2e7},
		Summary: Summary{Job: "job", RootPID: 123, Command: []string{"sh", "-c", "a <b >&2"}, Processes: 2, Threads: 3},
		Phases:  []Phase{{"freeze", 0, 1500 * time.Microsecond}, {"capture", 1500 * time.Microsecond, time.Millisecond}},
	}
}

// TestRoundTrip stores random sparse spaces, in several calls, and reads them
// back.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		dir := filepath.Join(t.TempDir(), "image")
		w := mustCreate(t, dir)
		spaces := map[uint32]*memory{}
		var bytes, seen atomic.Int64
		for range rnd.IntN(4) {
			var dumps []Dump
			for range rnd.IntN(6) {
				space, mem := rnd.Uint32(), newMemory()
				spaces[space] = mem
				ranges := mem.randomize(rnd, 1<<rnd.IntN(11))
				half := rnd.IntN(len(ranges) + 1)
				dumps = append(dumps, Dump{space, mem, ranges[:half]}, Dump{space, mem, ranges[half:]})
				for _, r := range ranges {
					bytes.Add(int64(r.Len()))
				}
			}
			if err := w.WritePages(dumps, func(n int64) { seen.Add(n) }); err != nil {
				t.Fatal(err)
			}
		}
		if seen.Load() != bytes.Load() {
			t.Errorf("progress of %d bytes, want %d", seen.Load(), bytes.Load())
		}
		m := mustCommit(t, w)
		checkImage(t, dir, m, spaces)
	}
}

// checkImage reads all spaces of an image at once.
func checkImage(t *testing.T, dir string, m Manifest, spaces map[uint32]*memory) {
	t.Helper()
	im := mustOpen(t, dir)
	defer im.Close()
	var fills []Fill
	var bytes, seen atomic.Int64
	got := map[uint32]*memory{}
	for space, mem := range spaces {
		got[space] = newMemory()
		fills = append(fills, Fill{space, got[space]})
		bytes.Add(int64(len(mem.pages)) * PageSize)
	}
	if err := im.ReadPages(fills, func(n int64) { seen.Add(n) }); err != nil {
		t.Fatal(err)
	}
	for space, mem := range spaces {
		got[space].equal(t, mem, space)
	}
	if seen.Load() != bytes.Load() || m.Summary.PageBytes != bytes.Load() {
		t.Errorf("progress of %d bytes, manifest has %d, want %d", seen.Load(), m.Summary.PageBytes, bytes.Load())
	}
	if err := im.Verify(nil); err != nil {
		t.Error(err)
	}
	if string(im.Records()) != "some records" {
		t.Errorf("records are %q", im.Records())
	}
}

// TestTwoFills gives the pages of one space to two sinks.
func TestTwoFills(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir)
	mem := newMemory()
	ranges := mem.randomize(rand.New(rand.NewPCG(1, 2)), 3000)
	if err := w.WritePages([]Dump{{1, mem, ranges}}, nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w)
	im := mustOpen(t, dir)
	defer im.Close()
	a, b := newMemory(), newMemory()
	if err := im.ReadPages([]Fill{{1, a}, {1, b}, {2, nil}}, nil); err != nil {
		t.Fatal(err)
	}
	a.equal(t, mem, 1)
	b.equal(t, mem, 1)
	if got := im.Spaces(); len(got) != 1 || got[0] != 1 || im.Extents(2) != nil && len(im.Extents(2)) > 0 {
		t.Errorf("spaces %v", got)
	}
}

// failing is a Source and Sink that fails at one page.
type failing struct {
	*memory
	at uint64
}

var errFailing = errors.New("no such process")

func (f failing) ReadPages(dst []byte, ranges []Range) error {
	for _, r := range ranges {
		if r.Start <= f.at && f.at < r.End {
			return errFailing
		}
	}
	return f.memory.ReadPages(dst, ranges)
}

func (f failing) WritePages(addr uint64, data []byte) error {
	if addr <= f.at && f.at < addr+uint64(len(data)) {
		return errFailing
	}
	return f.memory.WritePages(addr, data)
}

// TestWriteErrors ends an image by a source that fails, or bad ranges.
func TestWriteErrors(t *testing.T) {
	mem := newMemory()
	mem.set(0, 2000, 1)
	for _, c := range []struct {
		want   string
		source Source
		ranges []Range
	}{
		{"read pages of space 7: no such process", failing{mem, 1000 * PageSize}, mem.ranges()},
		{"space 7: range 0x1-0x1000", mem, []Range{{1, PageSize}}},
		{"space 7: range 0x1000-0x1fff", mem, []Range{{PageSize, 2*PageSize - 1}}},
		{"space 7: range 0x1000-0x0", mem, []Range{{PageSize, 0}}},
		{"extent of space 7 at 0x1000: overlaps the extent of space 7 at 0x0", mem, []Range{{0, 2 * PageSize}, {PageSize, 2 * PageSize}}},
	} {
		dir := filepath.Join(t.TempDir(), "image")
		w := mustCreate(t, dir)
		err := w.WritePages([]Dump{{7, c.source, c.ranges}}, nil)
		if err == nil {
			_, err = w.Commit(testManifest(), nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if _, err := w.Commit(testManifest(), nil); err == nil {
			t.Errorf("%s: committed after an error", c.want)
		}
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}
}

// TestSinkError ends ReadPages by a sink that fails.
func TestSinkError(t *testing.T) {
	dir := t.TempDir()
	mem := newMemory()
	mem.set(0, 2000, 1)
	w := mustCreate(t, dir)
	if err := w.WritePages([]Dump{{7, mem, mem.ranges()}}, nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w)
	im := mustOpen(t, dir)
	defer im.Close()
	err := im.ReadPages([]Fill{{7, failing{newMemory(), 1000 * PageSize}}}, nil)
	if !errors.Is(err, errFailing) || !strings.Contains(err.Error(), "space 7") || errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// TestNothingLeft compares the open files and mappings of this process before
// and after whole images, broken ones too.
func TestNothingLeft(t *testing.T) {
	count := func() (int, int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds), strings.Count(string(maps), "\n")
	}
	tooMuch := make([]byte, maxRecords+1)
	once := func(i int) {
		dir := filepath.Join(t.TempDir(), "image")
		mem := newMemory()
		mem.set(0, 500, 1)
		w := mustCreate(t, dir)
		if err := w.WritePages([]Dump{{7, mem, mem.ranges()}}, nil); err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			w.Abort()
		case 1:
			w.Commit(Manifest{}, tooMuch)
			w.Abort()
		case 2:
			mustCommit(t, w)
			im := mustOpen(t, dir)
			im.Verify(nil)
			im.Close()
			os.Truncate(filepath.Join(dir, pagesName), 0)
			Open(dir)
		}
	}
	for i := range 3 {
		once(i)
	}
	fds, maps := count()
	for i := range 60 {
		once(i)
	}
	if f, m := count(); f > fds || m > maps+30 { // Go's heap may grow a little
		t.Errorf("%d files and %d mappings, before %d and %d", f, m, fds, maps)
	}
}
