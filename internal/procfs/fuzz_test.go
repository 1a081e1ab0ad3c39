package procfs

import (
	"os"
	"path/filepath"
	"testing"
)

// fuzz seeds f with the recorded files whose path matches, and feeds fn.
func fuzz(f *testing.F, pattern string, fn func(b []byte) error) {
	paths, err := filepath.Glob("testdata/proc/" + pattern)
	if err != nil || len(paths) == 0 {
		f.Fatalf("%s: no seeds: %v", pattern, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 4000)])
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := fn(b); err != nil {
			if _, ok := err.(*ParseError); !ok {
				t.Errorf("%T: %v", err, err)
			}
		}
	})
}

func FuzzMaps(f *testing.F) {
	fuzz(f, "*/maps", func(b []byte) error { return second(parseMaps(b)) })
}

func FuzzSmaps(f *testing.F) {
	fuzz(f, "*/smaps", func(b []byte) error { return second(parseSmaps(b)) })
}

func FuzzStat(f *testing.F) {
	fuzz(f, "*/stat", func(b []byte) error { return second(parseStat(b)) })
}

func FuzzStatus(f *testing.F) {
	fuzz(f, "*/status", func(b []byte) error { return second(parseStatus(b)) })
}

func FuzzFDInfo(f *testing.F) {
	fuzz(f, "odd/fdinfo/*", func(b []byte) error {
		info, err := parseFDInfo(b)
		decoded(&info)
		info.Value("sigmask")
		return err
	})
}

func FuzzTimers(f *testing.F) {
	fuzz(f, "odd/timers", func(b []byte) error { return second(parseTimers(b)) })
}

func FuzzMountInfo(f *testing.F) {
	fuzz(f, "mounts/mountinfo", func(b []byte) error { return second(parseMountInfo(b)) })
}

func FuzzSmallFiles(f *testing.F) {
	parsers := []func(b []byte) error{
		func(b []byte) error { return second(parseChildren(b)) },
		func(b []byte) error { return second(parseComm(b)) },
		func(b []byte) error { return second(parseCmdline(b)) },
		func(b []byte) error { return second(parsePersonality(b)) },
		func(b []byte) error { return second(parseNamespace(b)) },
		func(b []byte) error { return second(parseTimensOffsets(b)) },
	}
	fuzz(f, "odd/[cpt]*", func(b []byte) error {
		var last error
		for _, parse := range parsers {
			if err := parse(b); err != nil {
				last = err
			}
		}
		return last
	})
}
