package procfs

import (
	"errors"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

const page = 4096

// wanted finds the pages that are in memory or in swap, with what they are.
var wanted = ScanQuery{
	AnyOf:  PageIsPresent | PageIsSwapped,
	Return: PageIsPresent | PageIsSwapped | PageIsFile | PageIsPFNZero | PageIsGuard,
}

// region is a range that a scan has found, in pages from the start.
type region struct{ start, end, categories uint64 }

// mapped maps n pages and returns them with their address.
func mapped(t *testing.T, fd, n, prot, flags int) ([]byte, uint64) {
	t.Helper()
	m := must(unix.Mmap(fd, 0, n*page, prot, flags))(t)
	t.Cleanup(func() { unix.Munmap(m) })
	if err := unix.Madvise(m, unix.MADV_NOHUGEPAGE); err != nil {
		t.Fatal(err)
	}
	return m, uint64(reflect.ValueOf(m).Pointer())
}

// scan scans n pages of this process from addr.
func scan(t *testing.T, addr uint64, n int, q ScanQuery) (found []region) {
	t.Helper()
	p := must(OpenPagemap(os.Getpid()))(t)
	defer p.Close()
	err := p.Scan(addr, addr+uint64(n)*page, q, func(start, end, categories uint64) error {
		found = append(found, region{(start - addr) / page, (end - addr) / page, categories})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestScanAnonymous(t *testing.T) {
	m, addr := mapped(t, -1, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	m[2*page], m[3*page], m[7*page] = 1, 1, 1
	if m[5*page] != 0 {
		t.Fatal("not zero")
	}
	if err := unix.Madvise(m[10*page:12*page], 102); err != nil { // MADV_GUARD_INSTALL
		t.Fatal(err)
	}
	check(t, "regions", scan(t, addr, 16, wanted), []region{
		{2, 4, PageIsPresent}, {5, 6, PageIsPresent | PageIsPFNZero}, {7, 8, PageIsPresent},
		{10, 12, PageIsSwapped | PageIsGuard},
	})
	if err := unix.Mprotect(m, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	notZero := ScanQuery{Mask: PageIsPresent, Inverted: PageIsPFNZero, AnyOf: PageIsPFNZero}
	check(t, "PROT_NONE", scan(t, addr, 16, notZero), []region{{2, 4, 0}, {7, 8, 0}})
	check(t, "nothing", scan(t, addr, 2, wanted), nil)
}

// TestScanFile maps a file privately and writes one page of it: that page is
// present and not of the file.
func TestScanFile(t *testing.T) {
	f := must(os.CreateTemp(t.TempDir(), ""))(t)
	defer f.Close()
	if _, err := f.Write(make([]byte, 8*page)); err != nil {
		t.Fatal(err)
	}
	m, addr := mapped(t, int(f.Fd()), 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err := unix.Madvise(m, unix.MADV_POPULATE_READ); err != nil {
		t.Fatal(err)
	}
	m[3*page] = 1
	check(t, "all", scan(t, addr, 8, wanted), []region{
		{0, 3, PageIsPresent | PageIsFile}, {3, 4, PageIsPresent}, {4, 8, PageIsPresent | PageIsFile},
	})
	private := ScanQuery{Inverted: PageIsFile, Mask: PageIsFile, AnyOf: PageIsPresent | PageIsSwapped}
	check(t, "written", scan(t, addr, 8, private), []region{{3, 4, 0}})
}

// TestScanManyRegions has more ranges than one call of the kernel returns.
func TestScanManyRegions(t *testing.T) {
	const n = 5000
	m, addr := mapped(t, -1, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	var want []region
	for i := uint64(0); i < n; i += 2 {
		m[i*page] = 1
		want = append(want, region{i, i + 1, PageIsPresent})
	}
	check(t, "regions", scan(t, addr, n, wanted), want)
}

func TestScanErrors(t *testing.T) {
	_, addr := mapped(t, -1, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	p := must(OpenPagemap(os.Getpid()))(t)
	defer p.Close()
	stop := errors.New("stop")
	fn := func(_, _, _ uint64) error { return stop }
	all := ScanQuery{Inverted: PageIsPresent, Mask: PageIsPresent}
	for name, tt := range map[string]struct {
		start uint64
		query ScanQuery
		want  error
	}{
		"callback":      {addr, all, stop},
		"not a page":    {addr + 1, all, unix.EINVAL},
		"unknown bit":   {addr, ScanQuery{Mask: 1 << 40}, unix.EINVAL},
		"not WP_ASYNC":  {addr, ScanQuery{Flags: ScanWPMatching | ScanCheckWPAsync, Mask: PageIsWritten}, unix.EPERM},
		"silently left": {addr, ScanQuery{Flags: ScanWPMatching, Mask: PageIsWritten}, nil},
	} {
		if err := p.Scan(tt.start, addr+4*page, tt.query, fn); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := p.Scan(addr, addr, all, fn); err != nil {
		t.Errorf("empty range: %v", err)
	}
}
