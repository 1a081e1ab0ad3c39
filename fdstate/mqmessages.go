package fdstate

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"
)

// MqueueHelperName is the name under which this program is the helper that looks
// into message queues. Its main function must call [MqueueHelper] then.
//
// A message cannot be looked at: it must be taken out and put back. Should the
// supervisor be killed meanwhile, it would be lost, so a process of its own does
// it, as for ptys ([PtyHelperName]). Should a process outside of the tree fill
// the queue meanwhile, it waits until there is room again.
const MqueueHelperName = "supervise-mqueue"

// QueuedMessage is a message that waits in a queue.
type QueuedMessage struct {
	Priority uint32 `cbor:"1,keyasint,omitempty" json:"priority"`
	Data     []byte `cbor:"2,keyasint,omitempty" json:"data"`
}

// mqueueAnswer is what the helper has found.
type mqueueAnswer struct {
	Messages []QueuedMessage `cbor:"1,keyasint,omitempty"`
	Error    string          `cbor:"2,keyasint,omitempty"`
}

// messages gives what waits in the queue, in the order in which it is received.
//
// Preconditions:
//   - Nobody wants to be told of messages (mq_notify): putting the first one
//     back would tell.
func (d *Desc) messages() ([]QueuedMessage, error) {
	reader, err := d.queueSide(unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(reader)
	writer, err := d.queueSide(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(writer)
	var answer mqueueAnswer
	if err := RunHelper(MqueueHelperName, []int{reader, writer}, &answer); err != nil {
		return nil, fmt.Errorf("look into message queue: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Messages, nil
}

// queueSide gives our own descriptor of the queue whose access mode is not the
// given one: a copy of the tree's or, where it has none, one that we open.
func (d *Desc) queueSide(not int) (int, error) {
	for _, other := range d.survey.byInode[inode{d.Stat.Dev, d.Stat.Ino}] {
		if other.Access() != not && !isPathOnly(other) {
			return other.Copy()
		}
	}
	fd, err := unix.Open(fdPath(d.PID, d.FD), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		return -1, RefuseNow("messages wait in it, and may not be both taken out and put back")
	}
	return fd, err
}

// MqueueHelper is the helper, with descriptors 3 to read the queue and 4 to write
// to it. It gives its exit code.
func MqueueHelper() int {
	const reader, writer = FirstHelperFD, FirstHelperFD + 1
	var answer mqueueAnswer
	var err error
	answer.Messages, err = takeMessages(reader)
	for _, m := range answer.Messages { // what has been taken out goes back in any case
		err = errors.Join(err, putMessage(writer, m))
	}
	if err != nil {
		answer.Error = err.Error()
	}
	data, err := cbor.Marshal(answer)
	if err == nil {
		_, err = os.Stdout.Write(data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// takeMessages takes out what is there. Received first is what is to be sent
// first: messages of one priority keep their order.
func takeMessages(fd int) ([]QueuedMessage, error) {
	attr, err := mqueueAttr(fd)
	if err != nil {
		return nil, err
	}
	var list []QueuedMessage
	buf := make([]byte, attr.msgsize)
	for range attr.curmsgs {
		n, priority, err := mqReceive(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETIMEDOUT):
			return list, nil // a process outside was faster
		case err != nil:
			return list, fmt.Errorf("mq_receive: %w", err)
		}
		list = append(list, QueuedMessage{Priority: priority, Data: append([]byte(nil), buf[:n]...)})
	}
	return list, nil
}

// putMessage puts one in, and waits for room if there is none.
func putMessage(fd int, m QueuedMessage) error {
	const moment = time.Millisecond
	for {
		err := mqSend(fd, m)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETIMEDOUT):
			time.Sleep(moment)
		default:
			return fmt.Errorf("mq_send of %d bytes: %w", len(m.Data), err)
		}
	}
}

// fill puts the messages of a queue, which one of its records has, into the new
// one, held at a number of the builder.
func (rec *Mqueue) fill(o *Opener, held int) {
	for i := range o.r.state.Files {
		other, ok := o.r.records[i].(*Mqueue)
		if !ok || other.ID != rec.ID || len(other.Messages) == 0 {
			continue
		}
		o.Then(func() error {
			fd, err := o.Copy(held)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for _, m := range other.Messages {
				if err := mqSend(fd, m); err != nil {
					return fmt.Errorf("mq_send of %d bytes: %w", len(m.Data), err)
				}
			}
			return nil
		})
	}
}
