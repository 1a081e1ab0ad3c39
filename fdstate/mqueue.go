package fdstate

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

const tagMqueue Tag = 20

// Mqueue is the image record of a descriptor of a POSIX message queue.
//
// What mq_notify(3) has asked for is not in it, since the value that the program
// would be told cannot be read (Linux ipc/mqueue.c:mqueue_read_file, v6.18).
type Mqueue struct {
	ID       uint64    `cbor:"1,keyasint" json:"queue"` // the same for all descriptors of a queue
	Name     string    `cbor:"2,keyasint" json:"name"`  // without a slash
	Unlinked bool      `cbor:"3,keyasint,omitempty" json:"unlinked,omitempty"`
	Limits   mqueueMax `cbor:"4,keyasint" json:"limits"`
	Mode     uint32    `cbor:"5,keyasint" json:"mode"`
	UID      uint32    `cbor:"6,keyasint" json:"uid"`
	GID      uint32    `cbor:"7,keyasint" json:"gid"`

	// Messages are what waits in it; the record of one of its descriptors has them.
	Messages []QueuedMessage `cbor:"8,keyasint,omitempty" json:"messages,omitempty"`
}

// mqueueMax is how many messages a queue holds, and how large they may be.
type mqueueMax struct {
	Messages int64 `cbor:"1,keyasint" json:"messages"`
	Size     int64 `cbor:"2,keyasint" json:"size"`
}

// QueueError says that a message queue cannot be made: there is another one of
// its name, or limits are too low.
type QueueError struct {
	Name string
	Err  error
}

func (e *QueueError) Error() string { return fmt.Sprintf("message queue /%s: %v", e.Name, e.Err) }

func (e *QueueError) Unwrap() error { return e.Err }

var errOtherQueue = errors.New("it is there, and has messages or other limits")

// isMessageQueue knows queues by their file system, however they were opened.
func isMessageQueue(d *Desc) bool {
	return d.onFileSystem(magicMqueue) || d.mode() == unix.S_IFREG && d.survey != nil && d.survey.mqueueDevice(d.Stat.Dev)
}

// mqueueDevice tells whether a device number is that of a mounted file system
// of message queues.
func (s *Survey) mqueueDevice(dev uint64) bool {
	if s.mqueues == nil {
		s.mqueues = map[uint64]bool{}
		mounts, err := procfs.ReadMountInfo(int(s.pid(0)))
		if err != nil {
			return false // a process that has died; that comes out elsewhere
		}
		for _, m := range mounts {
			if m.FSType == "mqueue" {
				s.mqueues[unix.Mkdev(m.DevMajor, m.DevMinor)] = true
			}
		}
	}
	return s.mqueues[dev]
}

func captureMqueue(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	link, _ := procfs.CutDeleted(d.Link)
	rec := &Mqueue{ID: d.Stat.Ino, Name: path.Base(link), Unlinked: d.Stat.Nlink == 0,
		Mode: d.Stat.Mode & 0o7777, UID: d.Stat.Uid, GID: d.Stat.Gid}
	waiting := int64(0)
	err := d.look(func(fd int) error {
		attr, err := mqueueAttr(fd)
		rec.Limits, waiting = attr.limits(), attr.waiting()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := d.refuseNotify(); err != nil || waiting == 0 || s.emptied[rec.ID] {
		return rec, err
	}
	s.emptied[rec.ID] = true
	rec.Messages, err = d.messages()
	return rec, err
}

// refuseNotify refuses a queue of which somebody wants to be told when a
// message comes.
func (d *Desc) refuseNotify() error {
	f, err := os.Open(fdPath(d.PID, d.FD))
	if errors.Is(err, unix.EACCES) {
		return Refuse("whether a process wants to be told of messages cannot be seen without the right to read it", "")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var size, how, signal, pid int
	if _, err := fmt.Fscanf(f, "QSIZE:%d NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", &size, &how, &signal, &pid); err != nil {
		return fmt.Errorf("state of message queue: %w", err)
	}
	if pid != 0 {
		return Refuse(fmt.Sprintf("process %d wants to be told of messages (mq_notify), and with which value cannot be read back", pid),
			"take the snapshot while no notification is asked for")
	}
	return nil
}

// Restore makes the queue with all of its descriptions, once, and takes one.
func (rec *Mqueue) Restore(o *Opener, f *File, at Slot) error {
	if _, ok := o.r.queues[f]; !ok {
		if err := rec.create(o); err != nil {
			return err
		}
	}
	o.Dup(o.r.queues[f], at)
	return nil
}

// create makes the queue, and opens it at a reserved number for each of its
// descriptions, while it still has its name: open(2) by way of a descriptor
// would leave its mark (O_LARGEFILE).
func (rec *Mqueue) create(o *Opener) error {
	held := o.r.Reserve()
	made, err := rec.open(o, held)
	if err != nil {
		return &QueueError{Name: rec.Name, Err: err}
	}
	for i := range o.r.state.Files {
		if other, ok := o.r.records[i].(*Mqueue); !ok || other.ID != rec.ID {
			continue
		}
		f := &o.r.state.Files[i]
		num := o.r.Reserve()
		o.r.queues[f] = num
		at := Slot{Num: num, CloseOnExec: true}
		if path.Dir(f.Link) == "/" || rec.Unlinked {
			o.Open(at, "mq_open", unix.SYS_MQ_OPEN, rec.Name, openFlags(f.Flags)|unix.O_NONBLOCK, 0, 0)
		} else {
			o.OpenPath(at, "open", f.Link, f.Flags)
		}
	}
	rec.fill(o, held)
	if made {
		rec.finish(o, held)
	}
	return nil
}

// open makes the queue at a reserved number. One that is there by this name is
// taken if it has the same limits and is empty, as a fifo would be.
func (rec *Mqueue) open(o *Opener, held int) (made bool, err error) {
	if err := o.Run(); err != nil {
		return false, err
	}
	const how = unix.O_RDWR | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := o.Proc.Call(unix.SYS_MQ_OPEN, rec.Name, how|unix.O_CREAT|unix.O_EXCL, 0o600, rec.Limits.attr().bytes())
	if made = err == nil; made {
		o.r.madeQueues = append(o.r.madeQueues, rec.Name)
	}
	if errors.Is(err, unix.EEXIST) && !rec.Unlinked {
		if fd, err = o.Proc.Call(unix.SYS_MQ_OPEN, rec.Name, how, 0, 0); err == nil {
			err = rec.checkSame(o.Proc, fd)
		}
	}
	if err == nil {
		err = o.expect("mq_open", fd, o.used.lowest())
	}
	if err != nil {
		return false, err
	}
	o.used.add(int(fd))
	o.move(int(fd), Slot{Num: held, CloseOnExec: true})
	return made, nil
}

// checkSame checks a queue that is there.
func (rec *Mqueue) checkSame(p *task.Process, fd int64) error {
	attr := rec.Limits.attr()
	buf := attr.bytes()
	if _, err := p.Call(unix.SYS_MQ_GETSETATTR, fd, 0, buf); err != nil {
		return err
	}
	if now := decodeMqueueAttr(buf); now.limits() != rec.Limits || now.waiting() > 0 {
		return errOtherQueue
	}
	return nil
}

// finish gives a new queue its owner and, when it has been opened everywhere,
// its mode.
func (rec *Mqueue) finish(o *Opener, held int) {
	if rec.Unlinked {
		o.Call("mq_unlink", unix.SYS_MQ_UNLINK, rec.Name)
	}
	o.Last(func(o *Opener) error {
		o.stat(held, func(st *unix.Stat_t) error {
			if st.Uid != rec.UID || st.Gid != rec.GID {
				_, err := o.Proc.Call(unix.SYS_FCHOWN, held, rec.UID, rec.GID)
				return err
			}
			return nil
		})
		o.Call("fchmod", unix.SYS_FCHMOD, held, rec.Mode)
		return nil
	})
}

// Check is for records out of an image.
func (rec *Mqueue) Check(*State) error {
	if rec.Name == "" || rec.Name != path.Base(rec.Name) || rec.Limits.Messages <= 0 || rec.Limits.Size <= 0 {
		return fmt.Errorf("message queue %q with %d messages of %d bytes", rec.Name, rec.Limits.Messages, rec.Limits.Size)
	}
	for _, m := range rec.Messages {
		if int64(len(m.Data)) > rec.Limits.Size {
			return fmt.Errorf("message queue %q with a message of %d bytes", rec.Name, len(m.Data))
		}
	}
	return nil
}

// Queues tells whether there are POSIX message queues.
func (s *State) Queues() bool {
	for i := range s.Files {
		if s.Files[i].Tag == tagMqueue {
			return true
		}
	}
	return false
}
