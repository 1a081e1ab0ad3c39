package taskstate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// MemPolicy says from which nodes a thread gets its memory (man 2 set_mempolicy).
type MemPolicy struct {
	Mode  int    `cbor:"1,keyasint" json:"mode"` // MPOL_* with its flags
	Nodes []byte `cbor:"2,keyasint" json:"nodes"`
}

const (
	maxNodes      = 1024         // MAX_NUMNODES of every configuration
	maxNodesArg   = maxNodes + 1 // the kernel takes one off (man 2 set_mempolicy, BUGS)
	mpolDefault   = 0
	nodeMaskBytes = maxNodes / 8
)

func captureMemPolicy(c *threadCapture) {
	mode, nodes := make([]byte, 4), make([]byte, nodeMaskBytes)
	call := c.batch.Add(unix.SYS_GET_MEMPOLICY, mode, nodes, maxNodesArg, 0, 0).Optional() // ENOSYS without NUMA
	c.later = append(c.later, func() {
		m := int(int32(binary.LittleEndian.Uint32(mode)))
		if call.Err() == nil && m != mpolDefault {
			c.rec.Schedule.Memory = &MemPolicy{m, nodes}
		}
	})
}

// restore is optional: a host with other nodes has no such policy.
func (m *MemPolicy) restore(b *task.Batch) {
	b.Add(unix.SYS_SET_MEMPOLICY, m.Mode, m.Nodes, maxNodesArg).Optional()
}
