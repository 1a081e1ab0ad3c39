package task

import (
	"bytes"
	"unsafe"
)

var parasiteStart, initLoopStart, ringProbeStart uintptr // set by the assembler

// marker ends each blob in the assembler's files.
var marker = []byte("KEYS!END")

// parasiteCode and the others are copies out of our own text segment.
var (
	parasiteCode  = blob(parasiteStart)
	initLoopCode  = blob(initLoopStart)
	ringProbeCode = blob(ringProbeStart)
)

func blob(start uintptr) []byte {
	const limit = 512
	// The address comes from the assembler's DATA line, so it points to text.
	text := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&start))), limit)
	n := bytes.Index(text, marker)
	if n < 0 {
		panic("task: blob without its end marker")
	}
	return bytes.Clone(text[:n])
}
