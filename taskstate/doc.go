// Package taskstate holds the state that belongs to a process or a thread
// itself: ids, registers, signals, timers, credentials, limits. Memory is
// memstate's and descriptors are fdstate's.
//
// Each file has one kind of state, its record, its capture and its restore
// side by side. Two tables, processParts and threadParts, list the kinds in
// the order of their restore, and each comment there says what must already
// hold.
package taskstate
