package memimg

import (
	"math/rand/v2"
	"path/filepath"
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
