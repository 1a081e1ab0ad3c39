package restorer

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// placeGiven puts what plugins hand over in the place of descriptors of the
// tree. Locks and owners of what was there are not its own.
func (r *restart) placeGiven() error {
	if r.changes == nil || len(r.changes.Files) == 0 {
		return nil
	}
	var places []fdstate.User
	for _, g := range r.changes.Files {
		at := fdstate.User{Proc: -1, Num: g.FD}
		for i, h := range r.tree.Holders() {
			if id := r.tree.Processes[h.Process].ID; int(id) == g.PID || g.PID == 0 && h.Process == 0 {
				at.Proc = i
				break
			}
		}
		places = append(places, at)
	}
	if err := r.tree.Files.Give(places); err != nil {
		return &HostError{Why: "a plugin hands over descriptors that do not fit", Err: err, Hint: "give pid and fd as supervise inspect shows them"}
	}
	return nil
}

// passGiven has the builder inherit what is handed over, behind the descriptors
// that it gets anyhow.
func (r *restart) passGiven(attr *syscall.ProcAttr) {
	if r.changes == nil {
		return
	}
	for _, g := range r.changes.Files {
		r.givenAt = append(r.givenAt, len(attr.Files))
		attr.Files = append(attr.Files, uintptr(g.Our))
	}
}

// moveGiven moves it out of the way of the tree's numbers.
func (r *restart) moveGiven() error {
	var b task.Batch
	for i, num := range r.givenAt {
		r.givenAt[i] = r.files.Reserve()
		b.Add(unix.SYS_DUP3, num, r.givenAt[i], unix.O_CLOEXEC)
		b.Add(unix.SYS_CLOSE, num)
	}
	r.files.SetGiven(r.givenAt)
	if err := r.builder.Run(&b); err != nil {
		return fmt.Errorf("descriptors of plugins: %w", err)
	}
	return nil
}
