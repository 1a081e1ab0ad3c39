package task

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"syscall"
)

// Mark stands in the sixth argument of calls that have no sixth argument and are
// made by us: the filter of run --virtualize lets them pass. It is in images:
// never change it.
const Mark = 0xd1ce5eedca115afe

// Batch is a list of system calls to run inside a task, in order. The zero
// Batch is empty and ready for use.
type Batch struct {
	calls []*Call
	then  []func() error
}

// Call is one system call of a batch.
type Call struct {
	Nr       uintptr
	Ret      int64 // what the kernel returned, valid after Run
	optional bool
	pause    func() error // not nil: no call, but a stop
	args     [6]uint64
	ids      [6]bool      // arguments that are ids as the tree knows them
	bufs     [6][]byte    // argument i points to a copy of bufs[i] when not nil
	pointers [6][]Pointer // inside bufs[i]
}

// Struct is an argument that points to memory with pointers into itself.
type Struct struct {
	Bytes    []byte
	Pointers []Pointer
}

// Pointer says that the 8 bytes at offset At hold the address of offset To.
type Pointer struct{ At, To int }

// Add appends system call nr. An argument is
//
//   - an integer or a boolean of any type: passed as it is;
//   - an ID: the kernel's number for it;
//   - a string: the call gets a pointer to it, ended by a zero byte;
//   - a []byte: the call gets a pointer to a copy of it in the tracee, and
//     what stands there after the call is copied back. nil passes NULL;
//   - a Struct: the same, with addresses filled in.
//
// A call that is given fewer than six arguments gets Mark for the last, which the
// kernel does not look at: one that has six must be given all of them.
func (b *Batch) Add(nr uintptr, args ...any) *Call {
	c := &Call{Nr: nr, args: [6]uint64{5: Mark}}
	for i, a := range args {
		c.set(i, a)
	}
	b.calls = append(b.calls, c)
	return c
}

// Pause has fn called when the calls before it have been made and those after
// it have not. Should we die meanwhile, the calls after it are made all the
// same: what a batch changes before a pause it can take back after it,
// whatever happens. An error of fn is Run's, after all calls have run.
//
// Calls before and after a pause must be few: they share one table.
func (b *Batch) Pause(fn func() error) {
	b.calls = append(b.calls, &Call{pause: fn})
}

// Then has fn called when the batch has run and no call of it has failed. It is
// for those who ask in a batch that somebody else runs. An error of fn is Run's.
func (b *Batch) Then(fn func() error) { b.then = append(b.then, fn) }

// Len is the number of calls.
func (b *Batch) Len() int { return len(b.calls) }

func (c *Call) set(i int, arg any) {
	switch v := arg.(type) {
	case string:
		c.bufs[i] = append([]byte(v), 0)
	case []byte:
		c.bufs[i] = v
	case ID:
		c.args[i], c.ids[i] = uint64(v), true
	case Struct:
		c.bufs[i], c.pointers[i] = v.Bytes, v.Pointers
	default:
		c.args[i] = integer(v)
	}
}

// integer widens an integer or boolean of any type as the C ABI does.
func integer(arg any) uint64 {
	switch v := reflect.ValueOf(arg); {
	case v.CanInt():
		return uint64(v.Int())
	case v.CanUint():
		return v.Uint()
	case v.Kind() == reflect.Bool && v.Bool():
		return 1
	case v.Kind() == reflect.Bool:
		return 0
	}
	panic(fmt.Sprintf("task: %T cannot be an argument of a system call", arg))
}

// Optional marks a call whose failure does not fail the batch; the caller
// looks at Err.
func (c *Call) Optional() *Call {
	c.optional = true
	return c
}

// Err is the call's error, or nil.
func (c *Call) Err() error {
	if c.Ret < 0 && c.Ret >= -4095 {
		return syscall.Errno(-c.Ret)
	}
	return nil
}

// payload is the room a call's buffers take, each aligned to 16 bytes.
func (c *Call) payload() int {
	n := 0
	for _, buf := range c.bufs {
		n += align16(len(buf))
	}
	return n
}

func align16(n int) int { return (n + 15) &^ 15 }

// take splits off as many calls as fit into room bytes of table and payload,
// keeping one row for the stop. It returns at least one call.
func take(calls []*Call, room int) (now, later []*Call) {
	used := rowSize
	for i, c := range calls {
		used += rowSize + c.payload()
		if used > room && i > 0 {
			return calls[:i], calls[i:]
		}
	}
	return calls, nil
}

// encode writes the rows of calls followed by their buffers, for a table at
// address at. The last row is the call that stops the parasite, which pauses
// are, too.
func encode(calls []*Call, last Call, at Addr, aliases *Aliases) []byte {
	table := make([]byte, 0, (len(calls)+1)*rowSize)
	payload := []byte{}
	base := at + Addr((len(calls)+1)*rowSize)
	for _, c := range calls {
		if c.pause != nil {
			table = appendRow(table, last.Nr, last.args)
			continue
		}
		args := c.args
		for i, isID := range c.ids {
			if isID {
				args[i] = uint64(aliases.Kernel(ID(args[i])))
			}
		}
		for i, buf := range c.bufs {
			if len(buf) == 0 {
				continue
			}
			at := uint64(base) + uint64(len(payload))
			args[i] = at
			for _, p := range c.pointers[i] {
				binary.LittleEndian.PutUint64(buf[p.At:], at+uint64(p.To))
			}
			payload = append(payload, buf...)
			payload = append(payload, make([]byte, align16(len(buf))-len(buf))...)
		}
		table = appendRow(table, c.Nr, args)
	}
	table = appendRow(table, last.Nr, last.args)
	return append(table, payload...)
}

func appendRows(b []byte, calls []Call) []byte {
	for _, c := range calls {
		b = appendRow(b, c.Nr, c.args)
	}
	return b
}

func appendRow(b []byte, nr uintptr, args [6]uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(nr))
	for _, a := range args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return binary.LittleEndian.AppendUint64(b, 0)
}

// decode takes results and buffers back from a table that has run.
func decode(calls []*Call, table []byte) {
	payload := table[(len(calls)+1)*rowSize:]
	for i, c := range calls {
		if c.pause != nil {
			continue
		}
		c.Ret = int64(binary.LittleEndian.Uint64(table[i*rowSize+rowResult:]))
		for _, buf := range c.bufs {
			copy(buf, payload)
			payload = payload[align16(len(buf)):]
		}
	}
}
