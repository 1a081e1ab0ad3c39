package restorer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"supervise/internal/task"
)

// keeper makes a stand-in that has what the builder has open. Its id is one of
// the highest: whoever else is to be made soon has an id that the tree has seen.
func (r *restart) keeper() (*task.Process, error) {
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return nil, err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("pid_max: %w", err)
	}
	tree := map[task.ID]bool{}
	for _, id := range r.tree.IDs() {
		tree[id] = true
	}
	for id := task.ID(limit - 1); id > 0; id-- {
		if tree[id] || r.known[id] != nil {
			continue
		}
		p, err := r.builder.Clone(0, 0, id)
		if errors.Is(err, task.ErrIDTaken) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("process that keeps descriptors: %w", err)
		}
		r.addStandIn(id, p)
		return p, nil
	}
	return nil, task.ErrIDTaken
}
