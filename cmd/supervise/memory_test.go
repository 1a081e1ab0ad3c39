package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestLimitMemory checks that the limit follows what is in use, up and down.
func TestLimitMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	limitMemory()
	settles := func(what string, ok func(limit int64) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			runtime.GC()
			limit := debug.SetMemoryLimit(-1)
			switch {
			case ok(limit):
				return
			case time.Now().After(end):
				t.Fatalf("%s: the limit is %d", what, limit)
			}
		}
	}
	settles("at first", func(limit int64) bool { return limit < 2*memoryLimit })
	const size = 100 << 20
	data := make([]byte, size)
	settles("with 100 MiB in use", func(limit int64) bool { return limit > size && limit < 2*size+memoryLimit && limit != math.MaxInt64 })
	runtime.KeepAlive(data)
	data = nil
	settles("without them", func(limit int64) bool { return limit < 2*memoryLimit })
}
