package ipcstate

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Commands of the three ctl calls (Linux include/uapi/linux/ipc.h, shm.h,
// sem.h, msg.h).
const (
	ipcRmid = 0
	ipcSet  = 1
	ipcStat = 2
	ipcInfo = 3

	shmLock    = 11
	shmStatAny = 15
	msgStatAny = 13
	semStatAny = 20

	semGetPID  = 11
	semGetAll  = 13
	semGetNCnt = 14
	semGetZCnt = 15
	semSetVal  = 16
)

// family is one of the three kinds of objects.
type family struct {
	name    string // in names of sysctls
	what    string // in messages
	get     uintptr
	ctl     uintptr
	statAny int
	size    int  // of its struct *id64_ds
	number  bool // ctl has the number of a semaphore between id and command
}

var (
	segments = family{name: "shm", what: "System V shared memory segment", ctl: unix.SYS_SHMCTL, get: unix.SYS_SHMGET, statAny: shmStatAny, size: 112}
	arrays   = family{name: "sem", what: "System V semaphore array", ctl: unix.SYS_SEMCTL, get: unix.SYS_SEMGET, statAny: semStatAny, size: 104, number: true}
	queues   = family{name: "msg", what: "System V message queue", ctl: unix.SYS_MSGCTL, get: unix.SYS_MSGGET, statAny: msgStatAny, size: 120}
)

// add queues a control call.
func (f *family) add(b *task.Batch, id, cmd int, arg any) *task.Call {
	if f.number {
		return b.Add(f.ctl, id, 0, cmd, arg)
	}
	return b.Add(f.ctl, id, cmd, arg)
}

// stat is struct shmid64_ds, semid64_ds or msqid64_ds (Linux
// include/uapi/asm-generic/shmbuf.h, msgbuf.h, arch/x86/include/uapi/asm/sembuf.h).
type stat []byte

func (s stat) u32(at int) int    { return int(binary.LittleEndian.Uint32(s[at:])) }
func (s stat) u64(at int) uint64 { return binary.LittleEndian.Uint64(s[at:]) }
func (s stat) pid(at int) task.ID {
	return task.ID(int32(binary.LittleEndian.Uint32(s[at:])))
}

// perm decodes struct ipc64_perm (Linux include/uapi/asm-generic/ipcbuf.h).
func (s stat) perm(id int) Perm {
	return Perm{ID: id, Key: int32(s.u32(0)), UID: s.u32(4), GID: s.u32(8), CUID: s.u32(12), CGID: s.u32(16), Mode: uint32(s.u32(20))}
}

// setting gives the struct for IPC_SET, which takes owner and mode from it.
func (f *family) setting(p *Perm) stat {
	s := make(stat, f.size)
	binary.LittleEndian.PutUint32(s[4:], uint32(p.UID))
	binary.LittleEndian.PutUint32(s[8:], uint32(p.GID))
	binary.LittleEndian.PutUint32(s[20:], p.Mode&0o777)
	return s
}

// found is an object as its namespace lists it.
type found struct {
	id int
	stat
}

// list finds all objects of a family in a process's namespace. It needs no
// right to any of them (Linux ipc/shm.c:shmctl_stat, SHM_STAT_ANY, since 4.17).
func (f *family) list(p *task.Process) ([]found, error) {
	var info task.Batch
	last := f.add(&info, 0, ipcInfo, make([]byte, f.size)) // the highest index in use
	if err := p.Run(&info); err != nil {
		return nil, err
	}
	var b task.Batch
	var all []found
	var calls []*task.Call
	for i := 0; i <= int(last.Ret); i++ {
		all = append(all, found{stat: make(stat, f.size)})
		calls = append(calls, f.add(&b, i, f.statAny, []byte(all[i].stat)).Optional())
	}
	if err := p.Run(&b); err != nil {
		return nil, err
	}
	var objects []found
	for i, c := range calls {
		switch err := c.Err(); {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EIDRM): // no object has this index
		case err != nil:
			return nil, err
		default:
			all[i].id = int(c.Ret)
			objects = append(objects, all[i])
		}
	}
	return objects, nil
}
