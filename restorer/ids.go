package restorer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// IDs says how a tree gets its old process ids back.
type IDs string

// Our own pid namespace is preferred, where all ids are free and we may choose
// them; then host and tree see the same numbers.
const (
	IDsAuto      IDs = "auto"      // in ours if that can be, else in a new one
	IDsKeep      IDs = "keep"      // in ours, or not at all
	IDsNamespace IDs = "namespace" // in a new one
	IDsTranslate IDs = "translate" // it gets others, and sees its old ones (translate.go)
)

// idsPlan is how the tree gets its old ids back.
type idsPlan struct {
	// namespace: in a new pid namespace, where all ids are free. Otherwise in
	// ours.
	namespace bool
	// status is the descriptor of the namespace's init for the root's wait status.
	status int
	// user: the namespace belongs to a new user namespace, since we have no
	// privilege to make one in ours.
	user bool
	// translate: the tree has other ids than it knows. limited: no privilege at
	// all, nor namespaces of our own.
	translate, limited bool
	// ipc: in a new ipc namespace.
	ipc bool
	// net: in a new network namespace.
	net bool
}

// keep lists the descriptors that the builder needs to the end.
func (p *idsPlan) keep() []int {
	if p.namespace {
		return []int{p.status}
	}
	return nil
}

// planIDs decides it. To choose ids (clone3 with set_tid) takes CAP_SYS_ADMIN or
// CAP_CHECKPOINT_RESTORE, a time namespace the former.
func (r *restart) planIDs() (idsPlan, error) {
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return idsPlan{}, err
	}
	admin := st.CapEff&(1<<unix.CAP_SYS_ADMIN) != 0
	if r.opts.IDs == IDsTranslate {
		return idsPlan{translate: true, limited: !admin}, nil
	}
	why := r.notHere(st.CapEff)
	if why != "" && r.opts.IDs == IDsKeep {
		return idsPlan{}, &HostError{Why: "the tree cannot have its ids in this pid namespace: " + why, Hint: "leave out --ids=keep: it gets a pid namespace of its own then"}
	}
	return idsPlan{
		namespace: r.private || why != "" || r.opts.IDs == IDsNamespace,
		user:      !admin,
	}, nil
}

// notHere tells why the tree cannot have its ids in our own pid namespace, or "".
func (r *restart) notHere(caps uint64) string {
	if caps&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return "only CAP_SYS_ADMIN may choose ids here"
	}
	var ids []string
	for _, id := range r.tree.IDs() {
		if taken(int(id)) {
			ids = append(ids, fmt.Sprint(id))
		}
	}
	if len(ids) > 0 {
		const most = 10
		if len(ids) > most {
			ids = append(ids[:most], "...")
		}
		return "taken: " + strings.Join(ids, ", ")
	}
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		// Its parent would be us, and our death no reason to tell it.
		for _, th := range p.Threads {
			if p.Parent == 0 && th.DeathSignal != 0 {
				return fmt.Sprintf("process %d wants a signal when its parent dies, which would be this one", p.ID)
			}
		}
	}
	return ""
}

// taken tells whether an id names a process, a thread or a process group.
func taken(id int) bool {
	return !errors.Is(unix.Kill(id, 0), unix.ESRCH) || !errors.Is(unix.Kill(-id, 0), unix.ESRCH)
}
