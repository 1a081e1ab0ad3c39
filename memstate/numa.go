package memstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Policy says on which memory nodes the pages of a mapping are to be (man 2 mbind).
type Policy struct {
	Mode  uint32 `cbor:"1,keyasint" json:"mode"`            // with its flags
	Nodes []byte `cbor:"2,keyasint,omitempty" json:"nodes"` // a bit for each node
}

const (
	maxNodes = 1024 // MAX_NUMNODES is no more (Linux arch/x86/Kconfig, NODES_SHIFT, v6.18)
	modeSize = 4
)

// capturePolicies asks the process for the policies of its mappings. A mapping
// without one follows its thread's, and says so (Linux
// mm/mempolicy.c:do_get_mempolicy, v6.18), where /proc/PID/numa_maps shows the
// thread's.
func (s *Space) capturePolicies(b *task.Batch, p *task.Process) {
	modes := make([][]byte, len(s.VMAs))
	calls := make([]*task.Call, len(s.VMAs))
	for i := range s.VMAs {
		modes[i] = make([]byte, modeSize)
		calls[i] = b.Add(unix.SYS_GET_MEMPOLICY, modes[i], 0, 0, s.VMAs[i].Start, unix.MPOL_F_ADDR).Optional()
	}
	b.Then(func() error {
		for i, c := range calls {
			if err := c.Err(); errors.Is(err, unix.ENOSYS) { // no NUMA in this kernel
				return nil
			} else if err != nil {
				return fmt.Errorf("memory policy at %#x: %w", uint64(s.VMAs[i].Start), err)
			}
			if err := s.VMAs[i].capturePolicy(p, modes[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// capturePolicy asks for the nodes of a policy of some mode.
func (v *VMA) capturePolicy(p *task.Process, mode []byte) error {
	how := binary.LittleEndian.Uint32(mode)
	if how == unix.MPOL_DEFAULT {
		return nil
	}
	nodes := make([]byte, maxNodes/8)
	if _, err := p.Call(unix.SYS_GET_MEMPOLICY, mode, nodes, maxNodes, v.Start, unix.MPOL_F_ADDR); err != nil {
		return fmt.Errorf("memory policy at %#x: %w", uint64(v.Start), err)
	}
	v.Policy = &Policy{Mode: how, Nodes: bytes.TrimRight(nodes, "\x00")}
	return nil
}

// bind gives mappings their policies, before there are pages in them.
func (s *Space) bind(p *task.Process) error {
	for i := range s.VMAs {
		v := &s.VMAs[i]
		if v.Policy == nil {
			continue
		}
		var nodes []byte
		bits := 0
		if len(v.Policy.Nodes) > 0 { // without any, as for the local node, none may be given
			nodes, bits = make([]byte, maxNodes/8), maxNodes
			copy(nodes, v.Policy.Nodes)
		}
		if _, err := p.Call(unix.SYS_MBIND, v.Start, v.Len(), v.Policy.Mode, nodes, bits, 0); err != nil {
			return &LackError{
				Why:  fmt.Sprintf("memory policy %#x on nodes %x (a bit each, the lowest first)", v.Policy.Mode, v.Policy.Nodes),
				Hint: "restart it on a host with the same NUMA nodes", Err: err,
			}
		}
	}
	return nil
}
