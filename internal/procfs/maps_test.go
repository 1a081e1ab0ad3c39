package procfs

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recorded returns a file that testdata/record.py has copied from /proc.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/proc/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check fails the test unless got is want.
func check[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// must returns v, and fails the test if there is an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestParseSmaps(t *testing.T) {
	vmas := must(parseSmaps(recorded(t, "odd/smaps")))(t)
	check(t, "file", vmas[0], VMA{
		Start: 0x10000000000, End: 0x10000002000, Read: true, Write: true, Offset: 0x1000,
		DevMajor: 0xfe, Ino: 9978350, Path: "/tmp/odd name\n\n\\x", Deleted: true,
		PageSize: 4096, Flags: VMRead | VMWrite | VMMayRead | VMMayWrite | VMMayExec | VMAccount,
	})
	for i, want := range []struct{ path, flags string }{
		1:  {"/tmp/odd name\n\n\\x", "rd wr sh mr mw me ms"},
		2:  {"/tmp/odd name\n\n\\x", "rd mr me ms"},
		3:  {"/tmp/gone", "rd wr sh mr mw me ms"},
		4:  {"/memfd:a memfd", "rd wr sh mr mw me ms"},
		5:  {"/dev/zero", "rd wr sh mr mw me ms"},
		8:  {"", "rd wr mr mw me gd ac"},
		9:  {"", "rd wr mr mw me lo ac"},
		10: {"", "rd wr mr mw me lo lf ac"},
		11: {"", "rd wr mr mw me rr ac"},
		12: {"", "rd wr mr mw me sr ac"},
		13: {"", "rd wr mr mw me dc ac"},
		14: {"", "rd wr mr mw me ac mg"},
		15: {"", "rd wr mr mw me ac hg"},
		16: {"", "rd wr mr mw me ac nh"},
		17: {"", "rd wr mr mw me ac dd"},
		18: {"", "rd wr mr mw me ac wf"},
		19: {"", "rd wr mr mw me nr"},
		20: {"", "rd wr mr mw me nr wf dd dp"},
		21: {"", "rd wr mr mw me gu ac"},
		22: {"", "rd wr mr mw me ac sl"},
		23: {"", "rd wr mr mw me ac um"},
		24: {"", "rd wr mr mw me ac uw"},
		25: {"", "mr mw me"},
		26: {"/SYSV00001234", "rd wr sh mr mw me ms"},
	} {
		if want.flags == "" {
			continue // not listed
		}
		check(t, "path of "+want.flags, vmas[i].Path, want.path)
		flags, unknown := parseVMFlags([]byte(want.flags))
		check(t, "flags", vmas[i].Flags.String(), flags.String())
		check(t, "unknown", unknown, nil)
		check(t, "deleted", vmas[i].Deleted, want.path != "")
		check(t, "anonymous", vmas[i].Anonymous(), want.path == "")
	}
	last := vmas[len(vmas)-1]
	check(t, "vsyscall", last, VMA{Start: 0xffffffffff600000, End: 0xffffffffff601000, Exec: true,
		Path: "[vsyscall]", PageSize: 4096, Flags: VMExec})
}

func TestMapsAgreeWithSmaps(t *testing.T) {
	maps := must(parseMaps(recorded(t, "odd/maps")))(t)
	smaps := must(parseSmaps(recorded(t, "odd/smaps")))(t)
	for i := range smaps {
		v := &smaps[i]
		v.Swap, v.PageSize, v.Flags = 0, 0, 0
	}
	check(t, "maps", maps, smaps)
	for _, name := range []string{"kthreadd/maps", "kthreadd/smaps"} {
		vmas := must(parseSmaps(recorded(t, name)))(t)
		check(t, name, len(vmas), 0)
	}
}

func TestParseSmapsDetails(t *testing.T) {
	const header = "7f00-8f00 r--p 00000000 00:00 0                          [anon: a #]\n"
	const size = "KernelPageSize:     2048 kB\n"
	vmas := must(parseSmaps([]byte(header + size +
		"Swap:                  8 kB\nProtectionKey:        3\nVmFlags: rd ?? zz ht \n")))(t)
	check(t, "vma", vmas, []VMA{{
		Start: 0x7f00, End: 0x8f00, Read: true, Path: "[anon: a #]", Swap: 8192, PageSize: 2 << 20,
		Flags: VMRead | VMHugeTLB, UnknownFlags: []string{"??", "zz"}, ProtectionKey: 3,
	}})
	for _, bad := range []string{
		header,
		header + size,
		header + "VmFlags: rd \n",
		header + "nonsense\nVmFlags: rd \n",
		header + "Swap: 1 MB\n" + size + "VmFlags: rd \n",
		header + "Swap: 99999999999999999999 kB\n" + size + "VmFlags: rd \n",
		header + header,
		size,
	} {
		if _, err := parseSmaps([]byte(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestParseMapsLine(t *testing.T) {
	for _, bad := range []string{
		"", "x", "1000-2000", "1000-2000 rw-p 0 00:00 0x", "2000-1000 rw-p 0 00:00 0 ",
		"1000-2000 rwzp 0 00:00 0 ", "1000-2000 rw-q 0 00:00 0 ", "1000-2000 rw-p 0 00-00 0 ",
		"10000000000000000-20000000000000000 rw-p 0 00:00 0 ", "1000-2000 rw-p 0 123456789:00 0 ",
		"1000-2000 rw-p 0 00:00 18446744073709551616 ", "1000-2000 rw-p 0 00:00 ",
	} {
		if v, ok := parseMapsLine([]byte(bad)); ok {
			t.Errorf("%q parsed as %+v", bad, v)
		}
	}
}

func TestVMAKinds(t *testing.T) {
	for _, tt := range []struct {
		line             string
		anon, special    bool
		anonName, wholly string
	}{
		{"1-2 rw-p 0 00:00 0 ", true, false, "", ""},
		{"1-2 rw-p 0 00:00 0                  [heap]", true, false, "", "[heap]"},
		{"1-2 rw-p 0 00:00 0                  [stack]", true, false, "", "[stack]"},
		{"1-2 rw-p 0 00:00 0    [anon:a b (deleted)]", true, false, "a b (deleted)", "[anon:a b (deleted)]"},
		{"1-2 rw-s 0 00:01 7    [anon_shmem:x]", false, false, "x", "[anon_shmem:x]"},
		{"1-2 rw-s 0 00:01 7    /dev/zero (deleted)", false, false, "", "/dev/zero"},
		{"1-2 r--p 0 00:00 0    [vvar]", false, true, "", "[vvar]"},
		{"1-2 r--p 0 00:00 0    [vvar_vclock]", false, true, "", "[vvar_vclock]"},
		{"1-2 r-xp 0 00:00 0    [vdso]", false, true, "", "[vdso]"},
		{"1-2 --xp 0 00:00 0    [uprobes]", false, true, "", "[uprobes]"},
		{"1-2 r--p 0 fe:00 5    /[vdso]", false, false, "", "/[vdso]"},
		{"1-2 rw-s 0 00:0e 5    anon_inode:[perf_event]", false, false, "", "anon_inode:[perf_event]"},
	} {
		v, ok := parseMapsLine([]byte(tt.line))
		name, _ := v.AnonName()
		check(t, tt.line, []any{ok, v.Anonymous(), v.Special(), name, v.Path},
			[]any{true, tt.anon, tt.special, tt.anonName, tt.wholly})
	}
}

func TestVMFlagCodes(t *testing.T) {
	check(t, "all", 1<<len(vmFlagCodes), int(VMBTI)<<1)
	for i, code := range vmFlagCodes {
		f := VMFlags(1) << i
		check(t, code, []any{f.Has(code), f.String(), (^f).Has(code)}, []any{true, code, false})
	}
	check(t, "growsdown", VMGrowsDown.String(), "gd")
	check(t, "sealed", VMSealed.String(), "sl")
	check(t, "no code", ^VMFlags(0) != 0 && (^VMFlags(0)).Has("zz"), false)
	check(t, "no letters", (^VMFlags(0)).Has("??"), false)
}

// TestReadMapsExactPath maps a file whose name looks escaped.
func TestReadMapsExactPath(t *testing.T) {
	path := t.TempDir() + "/\\012 and\nnewline (deleted)"
	f := must(os.Create(path))(t)
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	m := must(unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED))(t)
	defer unix.Munmap(m)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, read := range []func(int) ([]VMA, error){ReadMaps, ReadSmaps} {
		vmas := must(read(os.Getpid()))(t)
		i := slices.IndexFunc(vmas, func(v VMA) bool { return strings.HasSuffix(v.Path, "newline (deleted)") })
		if i < 0 {
			t.Fatal("mapping not found")
		}
		check(t, "path", vmas[i].Path, path)
		check(t, "deleted", vmas[i].Deleted, true)
	}
}
