package fdstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mqueueAttrs is struct mq_attr as the kernel has it (Linux
// include/uapi/linux/mqueue.h).
type mqueueAttrs struct {
	flags, maxmsg, msgsize, curmsgs int64
	_                               [4]int64
}

func (a mqueueAttrs) limits() mqueueMax { return mqueueMax{a.maxmsg, a.msgsize} }
func (a mqueueAttrs) waiting() int64    { return a.curmsgs }

// attr asks for a queue with these limits.
func (m mqueueMax) attr() mqueueAttrs { return mqueueAttrs{maxmsg: m.Messages, msgsize: m.Size} }

func (a mqueueAttrs) bytes() []byte {
	b := make([]byte, unsafe.Sizeof(a))
	binary.LittleEndian.PutUint64(b[8:], uint64(a.maxmsg))
	binary.LittleEndian.PutUint64(b[16:], uint64(a.msgsize))
	return b
}

func decodeMqueueAttr(b []byte) mqueueAttrs {
	word := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	return mqueueAttrs{flags: word(0), maxmsg: word(1), msgsize: word(2), curmsgs: word(3)}
}

// mqueueAttr is mq_getattr(3).
func mqueueAttr(fd int) (a mqueueAttrs, err error) {
	_, _, errno := unix.Syscall(unix.SYS_MQ_GETSETATTR, uintptr(fd), 0, uintptr(unsafe.Pointer(&a)))
	if errno != 0 {
		return a, fmt.Errorf("mq_getattr: %w", errno)
	}
	return a, nil
}

// longAgo is a time-out that does not wait.
var longAgo unix.Timespec

// mqReceive is mq_timedreceive(3), without waiting.
func mqReceive(fd int, buf []byte) (n int, priority uint32, err error) {
	got, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
		uintptr(unsafe.Pointer(&priority)), uintptr(unsafe.Pointer(&longAgo)), 0)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(got), priority, nil
}

// mqSend is mq_timedsend(3), without waiting.
func mqSend(fd int, m QueuedMessage) error {
	data := unsafe.Pointer(unsafe.SliceData(m.Data)) // may be nil: no byte of it is read then
	_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(fd), uintptr(data), uintptr(len(m.Data)),
		uintptr(m.Priority), uintptr(unsafe.Pointer(&longAgo)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// AbandonQueues removes the queues that a failed restart has made in our own
// ipc namespace.
func (r *Restorer) AbandonQueues() error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, name := range r.madeQueues {
		p, err := unix.BytePtrFromString(name)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 && errno != unix.ENOENT {
			errs = append(errs, fmt.Errorf("remove message queue /%s: %w", name, errno))
		}
	}
	return errors.Join(errs...)
}
