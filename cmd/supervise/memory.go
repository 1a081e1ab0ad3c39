package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// memoryLimit is what of our own memory the Go runtime tries to stay under: the
// program that is captured needs the rest.
const memoryLimit = 40 << 20

// limitMemory sets the limit, and raises it when the records of a large tree
// need more: under a limit that is too low the collector does nothing but run.
func limitMemory() {
	debug.SetMemoryLimit(memoryLimit)
	afterCollection(func() { debug.SetMemoryLimit(max(memoryLimit, roomFor(liveHeap()))) })
}

// roomFor is the limit at which so much that is in use is collected seldom
// enough: whenever half as much has been added.
func roomFor(live int64) int64 {
	const overhead = 16 << 20 // of the runtime, and of buffers
	return live + live/2 + overhead
}

// afterCollection has fn called after each collection: by the finalizer of
// something that nobody refers to.
func afterCollection(fn func()) {
	runtime.SetFinalizer(new(unused), func(*unused) {
		fn()
		afterCollection(fn)
	})
}

// unused is too large, and has a pointer too many, to be allocated together with
// something else, which would keep it (runtime.SetFinalizer).
type unused struct{ _ [2]*byte }

// liveHeap is what the last collection has found to be in use.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
