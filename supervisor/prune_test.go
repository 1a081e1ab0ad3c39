package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"supervise/memimg"
)

// ones is a space whose pages hold nothing but a byte.
type ones byte

func (o ones) ReadPages(dst []byte, _ []memimg.Range) error {
	for i := range dst {
		dst[i] = byte(o)
	}
	return nil
}

// store makes the image of this number, with pages of its own and some of
// earlier images.
func store(t *testing.T, dir, job string, number int, created time.Time, layers ...int) *StoredImage {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, job), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, job, numberName(number))
	w, err := memimg.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	at := uint64(number) * memimg.PageSize
	err = w.WritePages([]memimg.Dump{{Space: 1, Source: ones(number), Ranges: []memimg.Range{{Start: at, End: at + memimg.PageSize}}}}, nil)
	m := memimg.Manifest{Program: "test", Created: created, Summary: memimg.Summary{Job: job, Command: []string{"x"}}}
	for k, n := range layers {
		m.Layers = append(m.Layers, memimg.Layer{Dir: "../" + numberName(n), ID: idOf(t, dir, job, n)})
		err = errors.Join(err, w.AddExtents(lentBy(t, filepath.Join(dir, job, numberName(n)), k+1)...))
	}
	if err == nil {
		_, err = w.Commit(m, []byte("records"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return lookAt(job, number, path)
}

func idOf(t *testing.T, dir, job string, number int) string {
	t.Helper()
	m, err := memimg.ReadManifest(filepath.Join(dir, job, numberName(number)))
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// lentBy gives the extents of an image as those of a layer.
func lentBy(t *testing.T, dir string, layer int) []memimg.Extent {
	t.Helper()
	im, err := memimg.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	extents := slices.Clone(im.Extents(1))
	for i := range extents {
		extents[i].Layer = uint32(layer)
	}
	return extents
}

// left lists the numbers of the images that there are, and their states.
func left(t *testing.T, dir, job string) string {
	t.Helper()
	images, err := JobImages(dir, job)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, i := range images {
		fmt.Fprintf(&b, "%d", i.Number)
		if i.State != Good {
			fmt.Fprintf(&b, "(%s)", i.State)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

// spoil changes a byte of a file of an image.
func spoil(t *testing.T, i *StoredImage, file string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(i.Dir, file), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{'#'}, 3); err != nil {
		t.Fatal(err)
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)

// TestRetention: which images each rule keeps, of two a day, at noon and an
// hour later, for forty days that end on a Monday.
func TestRetention(t *testing.T) {
	var images []*StoredImage
	for n := range 80 {
		created := noon.AddDate(0, 0, n/2-39).Add(time.Duration(n%2) * time.Hour)
		images = append(images, &StoredImage{Number: n + 1, State: Good, Manifest: memimg.Manifest{Created: created}})
	}
	for _, c := range []struct {
		r    Retention
		want []int
	}{
		{Retention{Keep: 3}, []int{78, 79, 80}},
		{Retention{Hourly: 3}, []int{78, 79, 80}},
		{Retention{Daily: 3}, []int{76, 78, 80}},
		{Retention{Weekly: 3}, []int{64, 78, 80}}, // two Sundays, and today
		{Retention{Keep: 1, Daily: 2, Weekly: 2}, []int{78, 80}},
		{Retention{Keep: 100}, nil},
	} {
		var got []int
		for i := range c.r.kept(images) {
			got = append(got, i.Number)
		}
		slices.Sort(got)
		if c.want == nil && len(got) != len(images) || c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%+v keeps %v, want %v", c.r, got, c.want)
		}
	}
}

// TestPrune: what is left of some images, with damage, layers and leftovers
// among them.
func TestPrune(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(dir string)
		keep   int
		left   string
		others func(dir string)
	}{
		{"newest", func(dir string) {}, 1, "5", nil},
		{"two", func(dir string) {}, 2, "4 5", nil},
		{"newest is damaged", func(dir string) {
			spoil(t, lookAt("job", 5, filepath.Join(dir, "job/0005")), "records")
		}, 1, "4 5(damaged)", nil},
		{"pages of the newest are damaged", func(dir string) {
			spoil(t, lookAt("job", 5, filepath.Join(dir, "job/0005")), "pages")
		}, 1, "4 5", nil},
		{"an old one is damaged", func(dir string) {
			spoil(t, lookAt("job", 4, filepath.Join(dir, "job/0004")), "manifest.json")
		}, 2, "3 5", nil},
		{"none is good", func(dir string) {
			for n := 1; n <= 5; n++ {
				spoil(t, lookAt("job", n, filepath.Join(dir, "job", numberName(n))), "index")
			}
		}, 1, "1(damaged) 2(damaged) 3(damaged) 4(damaged) 5(damaged)", nil},
		{"layers", func(dir string) { store(t, dir, "job", 6, noon, 2, 4) }, 1, "2 4 6", nil},
		{"another job's layers", func(dir string) {}, 1, "3 5", func(dir string) {
			store(t, dir, "other", 1, noon)
			im := filepath.Join(dir, "other/0001")
			if err := memimg.Remove(im); err != nil {
				t.Fatal(err)
			}
			w, err := memimg.Create(im)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Commit(memimg.Manifest{Program: "test", Created: noon, Summary: memimg.Summary{Command: []string{}},
				Layers: []memimg.Layer{{Dir: "../../job/0003", ID: idOf(t, dir, "job", 3)}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"leftovers", func(dir string) {
			for _, name := range []string{"manifest.json.tmp", "pages"} {
				os.MkdirAll(filepath.Join(dir, "job/0006"), 0o700)
				os.WriteFile(filepath.Join(dir, "job/0006", name), nil, 0o600)
			}
		}, 1, "5", nil},
		{"a live writer", func(dir string) {
			w, err := memimg.Create(filepath.Join(dir, "job/0006"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Abort() })
		}, 1, "5 6(unfinished)", nil},
	} {
		dir := t.TempDir()
		for n := 1; n <= 5; n++ {
			store(t, dir, "job", n, noon.Add(time.Duration(n)*time.Minute))
		}
		c.make(dir)
		if c.others != nil {
			c.others(dir)
		}
		o := PruneOptions{Dir: dir, Job: "job", Retention: Retention{Keep: c.keep}, DryRun: true}
		before := left(t, dir, "job")
		if _, err := Prune(context.Background(), o); err != nil || left(t, dir, "job") != before {
			t.Errorf("%s: the dry run: %v, left %s of %s", c.name, err, left(t, dir, "job"), before)
		}
		o.DryRun = false
		if _, err := Prune(context.Background(), o); err != nil || left(t, dir, "job") != c.left {
			t.Errorf("%s: %v, left %q, want %q", c.name, err, left(t, dir, "job"), c.left)
		}
	}
}

// TestRemoveImages: all that are named go, or none.
func TestRemoveImages(t *testing.T) {
	dir := t.TempDir()
	for n := 1; n <= 3; n++ {
		store(t, dir, "job", n, noon)
	}
	store(t, dir, "job", 4, noon, 2)
	ctx := context.Background()
	var none *NoImageError
	if err := RemoveImages(ctx, dir, "job", []int{1, 9}); !errors.As(err, &none) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := RemoveImages(ctx, dir, "job", []int{1, 2}); err == nil || !strings.Contains(err.Error(), "job@0002 is needed by job@0004") {
		t.Errorf("one that is needed: %v", err)
	}
	if got := left(t, dir, "job"); got != "1 2 3 4" {
		t.Errorf("left %s", got)
	}
	if err := RemoveImages(ctx, dir, "job", []int{1, 4, 2}); err != nil || left(t, dir, "job") != "3" {
		t.Errorf("%v, left %s", err, left(t, dir, "job"))
	}
	if err := RemoveImages(ctx, dir, "none", []int{1}); !errors.As(err, &none) {
		t.Errorf("a job that is not there: %v", err)
	}
}

// TestLockJob: one at a time; who waits for a directory that goes away gets a
// new one.
func TestLockJob(t *testing.T) {
	jobDir := filepath.Join(t.TempDir(), "job")
	first, err := lockJob(context.Background(), jobDir)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockJob(soon, jobDir); !errors.Is(err, ErrBusy) {
		t.Errorf("a job that is locked: %v", err)
	}
	second := make(chan error)
	go func() {
		lock, err := lockJob(context.Background(), jobDir)
		if err == nil {
			err = sameDir(lock, jobDir)
			lock.Close()
		}
		second <- err
	}()
	time.Sleep(20 * time.Millisecond)
	os.Remove(jobDir)
	first.Close()
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestFindImage(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	for n := 1; n <= 3; n++ {
		store(t, dir, "job", n, noon)
	}
	store(t, ".", "elsewhere", 1, noon)
	if err := os.Rename("elsewhere/0001", "image"); err != nil {
		t.Fatal(err)
	}
	spoil(t, lookAt("job", 3, filepath.Join(dir, "job/0003")), "index")
	here, _ := os.Getwd()
	for _, c := range []struct{ what, dir, older, skipped, err string }{
		{"job", dir + "/job/0002", "job@0001", "job@0003", ""},
		{"job@0001", dir + "/job/0001", "", "", ""},
		{"job@3", dir + "/job/0003", "job@0002", "", ""},
		{"job@4", "", "", "", "no such image"},
		{"job@x", "", "", "", "expected NAME@NUMBER"},
		{"none", "", "", "", "no such image"},
		{"image", here + "/image", "", "", ""},
		{"elsewhere", here + "/elsewhere", "", "", ""},
		{"./job", here + "/job", "", "", ""},
		{"/nonexistent", "/nonexistent", "", "", ""},
	} {
		f, err := FindImage(dir, c.what)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %+v, %v", c.what, f, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		skipped := ""
		for _, i := range f.Skipped {
			skipped += i.Name()
		}
		if f.Dir != c.dir || f.Older != c.older || skipped != c.skipped {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}
