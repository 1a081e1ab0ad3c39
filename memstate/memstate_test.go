package memstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/memimg"
)

func TestPageCollectorCutsToPrivateMappings(t *testing.T) {
	s := &Space{VMAs: []VMA{
		{Start: 0x1000, End: 0x3000},
		{Start: 0x3000, End: 0x5000, Shared: true},
		{Start: 0x5000, End: 0x9000},
		{Start: 0xa000, End: 0xb000},
	}}
	c := &pageCollector{space: s}
	for _, r := range []struct{ start, end, categories uint64 }{
		{0x0000, 0x2000, 0}, {0x2000, 0x6000, 0}, {0x7000, 0x8000, procfs.PageIsGuard}, {0x8000, 0xc000, 0},
	} {
		if err := c.add(r.start, r.end, r.categories); err != nil {
			t.Fatal(err)
		}
	}
	want := []memimg.Range{{Start: 0x1000, End: 0x3000}, {Start: 0x5000, End: 0x6000}, {Start: 0x8000, End: 0x9000}, {Start: 0xa000, End: 0xb000}}
	if !reflect.DeepEqual(c.ranges, want) {
		t.Errorf("ranges %x", c.ranges)
	}
	if !reflect.DeepEqual(s.Guards, []Range{{0x7000, 0x8000}}) {
		t.Errorf("guards %x", s.Guards)
	}
}

func TestUnion(t *testing.T) {
	got := union([]memimg.Range{{Start: 8, End: 9}, {Start: 1, End: 3}, {Start: 2, End: 5}, {Start: 5, End: 6}})
	if want := []memimg.Range{{Start: 1, End: 6}, {Start: 8, End: 9}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestDataRangesOfSparseFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	ranges, err := dataRanges(int(f.Fd()), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, r := range ranges {
		n += r.Len()
	}
	if len(ranges) == 0 || n > 1<<20 || ranges[0].Start > 1<<20 || ranges[0].End <= 1<<20 {
		t.Errorf("%x", ranges)
	}
}

func TestObjectSourceZeroesPastTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, task.PageSize)
	page[100] = 7
	obj := &liveObject{file: f}
	if err := obj.ReadPages(page, []memimg.Range{{End: task.PageSize}}); err != nil {
		t.Fatal(err)
	}
	if string(page[:5]) != "hello" || page[100] != 0 {
		t.Errorf("%q, byte 100 is %d", page[:5], page[100])
	}
}

func TestVDSOCheck(t *testing.T) {
	vmas, err := procfs.ReadMaps(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	v, err := ReadVDSO(task.PID(os.Getpid()), vmas)
	if err != nil {
		t.Fatal(err)
	}
	if t2, err := v.Match(); t2 != nil || err != nil {
		t.Errorf("own vDSO: %v, %v", t2, err)
	}
	other := VDSO{Size: v.Size, Image: bytes.Clone(v.Image)}
	other.Image[len(other.Image)/2] ^= 1
	t2, err := other.Match()
	if err != nil {
		t.Fatal(err)
	}
	checkTrampolines(t, t2)
	if _, err := (&VDSO{Image: []byte("no ELF")}).Match(); err == nil {
		t.Error("matched a vDSO that is none")
	}
}

// checkTrampolines looks for a jump to where the host has the same function.
func checkTrampolines(t *testing.T, tr *Trampolines) {
	t.Helper()
	const base = 0x7000_0000
	image := tr.image(base)
	found := map[string]bool{}
	for _, e := range tr.entries {
		found[e.name] = true
		jump := append(binary.LittleEndian.AppendUint64([]byte{0x48, 0xb8}, base+e.at), 0xff, 0xe0)
		if is := bytes.HasPrefix(image[e.at:], jump); is == (e.name == "getrandom") {
			t.Errorf("%s at %#x: % x", e.name, e.at, image[e.at:][:16])
		}
		code := Range{0x10000, 0x10000 + task.Addr(len(image))}
		if tr.inside(code, code.Start+task.Addr(e.at)) || !tr.inside(code, code.Start+task.Addr(e.at)+1) {
			t.Errorf("%s: what is inside", e.name)
		}
	}
	if !found["clock_gettime"] || !found["time"] {
		t.Errorf("functions %v", found)
	}
	e := entry{name: "getcpu"}
	if got := e.code(base); !bytes.Equal(got, []byte{0xb8, 0x35, 0x01, 0, 0, 0x0f, 0x05, 0xc3}) {
		t.Errorf("without the host's: % x", got)
	}
}

func TestFileCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lib.so")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	id := readFileID(path, &st)
	space := &Space{VMAs: []VMA{{Kind: File, Path: path, File: &id}}, MM: MM{Exe: path, ExeID: id}}
	check := func() error {
		var c FileCheck
		c.Add(space)
		return c.Err()
	}
	if err := check(); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := check(); err != nil {
		t.Errorf("other time, same content: %v", err)
	}
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(); !errors.Is(err, ErrChanged) {
		t.Errorf("other content: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := check(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func TestMMEncode(t *testing.T) {
	m := MM{StartCode: 1, EnvEnd: 11, Auxv: []byte("auxv")}
	s := m.encode(5)
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(s.Bytes[off:]) }
	if word(0) != 1 || word(80) != 11 || word(96) != 5<<32|4 || string(s.Bytes[mmMapSize:]) != "auxv" {
		t.Errorf("%x", s.Bytes)
	}
	if !reflect.DeepEqual(s.Pointers, []task.Pointer{{At: 88, To: mmMapSize}}) {
		t.Errorf("%v", s.Pointers)
	}
}

func TestSurveyRefusesByName(t *testing.T) {
	held := &task.Process{PID: task.PID(os.Getpid())}
	var refused refuse.List
	p := Process{Held: held, Comm: "x", VMAs: []procfs.VMA{
		{Start: 0x1000, End: 0x2000, Flags: procfs.VMRead},
		{Start: 0x2000, End: 0x3000, Ino: 1, Path: "/dev/dri/card0", Flags: procfs.VMPFNMap},
		{Start: 0x3000, End: 0x4000, Ino: 1, Path: "/SYSV00000000", Deleted: true, Shared: true, Flags: procfs.VMHugeTLB},
		{Start: 0x4000, End: 0x5000, Ino: 1, Path: "/secretmem", Deleted: true, Shared: true},
		{Start: 0x5000, End: 0x6000, UnknownFlags: []string{"zz"}},
		{Start: 0x6000, End: 0x7000, Ino: 1, Path: "anon_inode:[io_uring]", Shared: true},
	}}
	s, err := Survey(p, 1, &Objects{NewSpace: func() uint32 { return 1 }}, &refused)
	if err != nil {
		t.Fatal(err)
	}
	var list *refuse.Error
	if !errors.As(refused.Err(), &list) || len(list.Objects) != 5 || len(s.VMAs) != 1 {
		t.Errorf("%d mappings, %v", len(s.VMAs), refused.Err())
	}
}

func TestBuildID(t *testing.T) {
	note := func(owner string, kind uint32, desc []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, kind)
		for _, part := range []string{owner, string(desc)} {
			b = append(b, part...)
			for len(b)%4 != 0 {
				b = append(b, 0)
			}
		}
		return b
	}
	other := note("GNU\x00", 1, []byte("abi tag"))
	for _, c := range []struct {
		notes []byte
		want  string
	}{
		{append(other, note("GNU\x00", 3, []byte("id"))...), "id"},
		{note("Go\x00\x00", 4, []byte("goid")), "goid"},
		{other, ""},
		{note("GNU\x00", 3, []byte("id"))[:13], ""},
		{bytes.Repeat([]byte{0xff}, 40), ""},
		{nil, ""},
	} {
		if got := findBuildID(c.notes, 4, binary.LittleEndian); string(got) != c.want {
			t.Errorf("%q: %q", c.notes, got)
		}
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if id, err := buildID(f); id == "" {
		t.Errorf("this program has no build id: %v", err)
	}
}

// TestMappedFileID compares what mappings of ours show with what files have.
func TestMappedFileID(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(data, bytes.Repeat([]byte("12345"), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		name         string
		size         int
		write, whole bool
	}{{"whole", 10000, false, true}, {"part", 4096, false, false}, {"written", 10000, true, false}} {
		b, err := unix.Mmap(int(f.Fd()), 0, c.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		if c.write {
			b[5000] = 'x'
		}
		found := 0
		for _, v := range must(procfs.ReadMaps(os.Getpid())) {
			if v.Path == data || v.Path == must(os.Readlink("/proc/self/exe")) && v.Offset == 0 {
				found++
				var st unix.Stat_t
				if err := unix.Stat(v.Path, &st); err != nil {
					t.Fatal(err)
				}
				id, err := mappedFileID(task.PID(os.Getpid()), &v, &st)
				whole := c.whole || v.Path != data
				if whole != (err == nil) || whole && id != readFileID(v.Path, &st) {
					t.Errorf("%s: %s is %v, %v", c.name, v.Path, &id, err)
				}
			}
		}
		if found != 2 {
			t.Errorf("%d mappings", found)
		}
		if err := unix.Munmap(b); err != nil {
			t.Fatal(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestViewWithout(t *testing.T) {
	v := view{start: 0x1000, end: 0x6000, offset: 0x10000, private: true}
	got := v.without([]memimg.Range{{Start: 0, End: 0x2000}, {Start: 0x3000, End: 0x4000}, {Start: 0x7000, End: 0x8000}})
	want := []view{
		{start: 0x2000, end: 0x3000, offset: 0x11000, private: true},
		{start: 0x4000, end: 0x6000, offset: 0x13000, private: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}
