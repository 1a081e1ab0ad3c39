package memimg

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layered makes three images side by side, the last with pages in all three:
// page i of space 1 is in image i%3.
func layered(t *testing.T, parent string) (dirs []string, want *memory) {
	t.Helper()
	want = newMemory()
	want.set(0, 99, 7)
	var layers []Layer
	var extents []Extent
	for i, name := range []string{"0001", "0002", "0003"} {
		dir := filepath.Join(parent, name)
		w := mustCreate(t, dir)
		var mine []Range
		for p := i; p < 99; p += 3 {
			mine = append(mine, Range{uint64(p) * PageSize, uint64(p+1) * PageSize})
		}
		if err := w.WritePages([]Dump{{1, want, mine}}, nil); err != nil {
			t.Fatal(err)
		}
		m := testManifest()
		if i == 2 {
			if err := w.AddExtents(extents...); err != nil {
				t.Fatal(err)
			}
			m.Layers = layers
		}
		m, err := w.Commit(m, []byte("some records"))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, Layer{Dir: "../" + name, ID: m.ID})
		for _, e := range mustOpen(t, dir).Extents(1) {
			e.Layer = uint32(i + 1)
			extents = append(extents, e)
		}
		dirs = append(dirs, dir)
	}
	return dirs, want
}

func TestLayers(t *testing.T) {
	dirs, want := layered(t, t.TempDir())
	m, err := ReadManifest(dirs[2])
	if err != nil || len(m.Layers) != 2 || m.Parts.Pages.Size != 33*PageSize {
		t.Fatalf("got %+v, %v", m, err)
	}
	checkImage(t, dirs[2], m, map[uint32]*memory{1: want})
}

// TestLayerDamage breaks earlier images: each is found, and named.
func TestLayerDamage(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(layer string) error
	}{
		{"0002/pages: extent of space 1", func(layer string) error {
			f, err := os.OpenFile(filepath.Join(layer, pagesName), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("damage"), 5*PageSize)
				f.Close()
			}
			return err
		}},
		{"0002/pages: cut short", func(layer string) error { return os.Truncate(filepath.Join(layer, pagesName), PageSize) }},
		{"0002/manifest.json: sum", func(layer string) error { return os.Truncate(filepath.Join(layer, manifestName), 100) }},
		{"0003/manifest.json: layers[1]: is missing", os.RemoveAll},
		{"0003/manifest.json: layers[1]: is another image", func(layer string) error {
			if err := os.RemoveAll(layer); err != nil {
				return err
			}
			return os.CopyFS(layer, os.DirFS(filepath.Join(layer, "../0001")))
		}},
	} {
		dirs, _ := layered(t, t.TempDir())
		if err := c.spoil(dirs[1]); err != nil {
			t.Fatal(err)
		}
		if err := openAndVerify(dirs[2]); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if err := openAndVerify(dirs[0]); err != nil {
			t.Error(err)
		}
	}
}

// TestPlaces opens images whose index fits its checksum but not the pages.
func TestPlaces(t *testing.T) {
	whole := []Extent{{Space: 1, Addr: 0, Pages: 2, Offset: 0}, {Space: 2, Addr: 0, Pages: 1, Offset: 2 * PageSize}}
	for want, change := range map[string]func([]Extent) []Extent{
		"":               func(e []Extent) []Extent { return e },
		"shares pages":   func(e []Extent) []Extent { e[1].Offset = PageSize; return e },
		"beyond the end": func(e []Extent) []Extent { e[1].Pages = 2; return e },
		"uncovered":      func(e []Extent) []Extent { return e[1:] },
	} {
		im := &Image{dir: "image", extents: change(slices.Clone(whole)), pages: []*pagesFile{{name: "pages", size: 3 * PageSize}}}
		err := im.checkPlaces()
		if want == "" && err != nil || want != "" && (!isDamage(err, indexName) || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
