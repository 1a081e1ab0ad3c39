package ipcstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// maxText is the largest message that fits into a batch.
const maxText = 48 << 10

// msgCopy is MSG_COPY: a message is given by its place in the queue, and
// stays there (man 2 msgrcv; needs CONFIG_CHECKPOINT_RESTORE).
const msgCopy = 0o40000

// queues records the message queues of the tree.
func (c *capture) queues(objects []found) error {
	for _, o := range objects {
		rec := Queue{Perm: o.perm(o.id), MaxBytes: o.u64(88), Sender: o.pid(96), Receiver: o.pid(100)}
		s := signs{
			used: c.waits(o.id, unix.SYS_MSGSND, unix.SYS_MSGRCV), by: []task.ID{rec.Sender, rec.Receiver},
			at: latest(o.u64(48), o.u64(56), o.u64(64)), made: stamp(o.u64(64)),
		}
		var mine bool
		if mine, rec.Loose = c.belongs(&queues, &rec.Perm, s); !mine {
			continue
		}
		err := c.messages(&rec, int(o.u64(80)), int(o.u64(72)))
		switch {
		case isGone(err), rec.Loose && (errors.Is(err, unix.ENOMSG) || errors.Is(err, unix.EACCES)): // somebody outside uses it, or hides it
			continue
		case errors.Is(err, unix.E2BIG):
			c.refuse(&queues, o.id, fmt.Sprintf("a message in it has more than %d bytes", maxText), "let it be received first")
		case errors.Is(err, unix.EACCES):
			c.refuse(&queues, o.id, "no process of the tree may read it", "give its owner the right to read it")
		case errors.Is(err, unix.ENOSYS):
			c.refuse(&queues, o.id, "this kernel cannot copy messages (CONFIG_CHECKPOINT_RESTORE)", "let them be received first")
		case err != nil:
			return err
		}
		c.rec.Queues = append(c.rec.Queues, rec)
	}
	return nil
}

// messages copies n messages of size bytes in all.
func (c *capture) messages(q *Queue, n, size int) error {
	const typeSize = 8
	room := min(size, maxText)
	bufs := make([][]byte, n)
	calls := make([]*task.Call, n)
	err := c.asAny(func() *task.Batch {
		var b task.Batch
		for i := range n {
			bufs[i] = make([]byte, typeSize+room)
			calls[i] = b.Add(unix.SYS_MSGRCV, q.Perm.ID, bufs[i], room, i, msgCopy|ipcNoWait)
		}
		return &b
	})
	if err != nil {
		return err
	}
	for i, buf := range bufs {
		q.Messages = append(q.Messages, Message{
			Type: int64(binary.LittleEndian.Uint64(buf)),
			Text: buf[typeSize : typeSize+calls[i].Ret : typeSize+calls[i].Ret],
		})
	}
	return nil
}

// makeQueues makes the queues and fills them.
func (r *Restorer) makeQueues() error {
	for i := range r.state.Queues {
		q := &r.state.Queues[i]
		users := func(st stat) ([]task.ID, bool) { return []task.ID{st.pid(96), st.pid(100)}, false }
		err := r.make(&queues, &q.Perm, object{users: users, loose: q.Loose}, q.Perm.Key)
		if err != nil {
			return err
		}
		if r.kept[&q.Perm] {
			continue
		}
		if err := r.fillQueue(q); err != nil {
			return queues.fault(&q.Perm, err)
		}
	}
	return nil
}

// fillQueue sends the messages again. Whoever sent and received last does so;
// for the latter there is one message more at first.
func (r *Restorer) fillQueue(q *Queue) error {
	sender, err := r.Author(q.Sender)
	if err != nil {
		return err
	}
	var b task.Batch
	queues.add(&b, q.Perm.ID, ipcSet, []byte(q.setting(max(q.MaxBytes, q.bytes()))))
	if err := r.Builder.Run(&b); err != nil {
		return err
	}
	extra := Message{Type: 1}
	if q.Receiver != 0 || q.Sender != 0 && len(q.Messages) == 0 {
		if err := extra.send(sender, q.Perm.ID); err != nil {
			return err
		}
		receiver, err := r.Author(q.Receiver)
		if err != nil {
			return err
		}
		if _, err := receiver.Call(unix.SYS_MSGRCV, q.Perm.ID, make([]byte, 16), 0, 0, ipcNoWait); err != nil {
			return err
		}
	}
	for i := range q.Messages {
		if err := q.Messages[i].send(sender, q.Perm.ID); err != nil {
			return err
		}
	}
	return nil
}

func (m *Message) send(p *task.Process, id int) error {
	buf := append(binary.LittleEndian.AppendUint64(nil, uint64(m.Type)), m.Text...)
	_, err := p.Call(unix.SYS_MSGSND, id, buf, len(m.Text), ipcNoWait)
	return err
}

func (q *Queue) bytes() (n uint64) {
	for _, m := range q.Messages {
		n += uint64(len(m.Text))
	}
	return n
}

// setting is the struct for IPC_SET while the queue is filled by root, or by
// its owner.
func (q *Queue) setting(limit uint64) stat {
	s := queues.setting(&q.Perm)
	binary.LittleEndian.PutUint32(s[20:], q.Perm.Mode|ownersAccess)
	binary.LittleEndian.PutUint64(s[88:], limit)
	return s
}

// finishQueues gives queues their modes and limits.
func (r *Restorer) finishQueues() error {
	for i := range r.state.Queues {
		q := &r.state.Queues[i]
		if r.kept[&q.Perm] {
			continue
		}
		s := q.setting(q.MaxBytes)
		binary.LittleEndian.PutUint32(s[20:], q.Perm.Mode)
		var b task.Batch
		queues.add(&b, q.Perm.ID, ipcSet, []byte(s))
		if err := r.Builder.Run(&b); err != nil {
			return queues.fault(&q.Perm, err)
		}
	}
	return nil
}
