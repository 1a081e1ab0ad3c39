package procfs

import (
	"os"
	"testing"
)

// BenchmarkRead is what a survey reads of each process. BenchmarkKernel reads
// the same files without parsing them: the difference is ours.
func BenchmarkRead(b *testing.B) {
	pid := os.Getpid()
	for b.Loop() {
		must(ReadSmaps(pid))(b)
		must(ReadStat(pid))(b)
		must(ReadStatus(pid))(b)
	}
}

func BenchmarkKernel(b *testing.B) {
	pid := os.Getpid()
	var buf []byte
	for b.Loop() {
		for _, name := range []string{"smaps", "stat", "status"} {
			buf = must(appendFile(buf[:0], pidPath(pid, name)))(b)
		}
	}
}

func BenchmarkParseSmaps(b *testing.B) {
	smaps := recorded(b, "odd/smaps")
	b.SetBytes(int64(len(smaps)))
	for b.Loop() {
		must(parseSmaps(smaps))(b)
	}
}
