package control

import (
	"supervise/plugins/client"
)

// Host is what a server serves. Its methods are called from several
// goroutines, Inside with the server's lock held; an error that is a *client.Error is answered as it is.
type Host interface {
	// Hello tells who is here.
	Hello() client.Hello

	// Status tells about the job, but for what the server knows itself.
	Status() (client.Status, error)

	// List lists the snapshots of the job.
	List() ([]client.Snapshot, error)

	// Checkpoint takes a snapshot with annotations.
	Checkpoint(annotations map[string]string) (client.Outcome, error)

	// Remove removes a snapshot and gives its full name.
	Remove(snapshot string) (string, error)

	// Restore replaces the tree. answer is a connection that is to be told how
	// it ended, as the answer to a request with that id, or nil. It returns
	// only if it fails.
	Restore(snapshot string, answer func() (fd int, err error), id int64) error

	// Inside tells whether a process belongs to the tree.
	Inside(pid int) bool

	// Elsewhere gives the socket of another supervisor whose tree a process
	// belongs to, and knows that by the path at which it came here; or "".
	Elsewhere(pid int, path string) string
}

// fail makes an error answer of any error.
func fail(err error) *client.Error {
	if e, ok := err.(*client.Error); ok {
		return e
	}
	return &client.Error{Code: client.Failed, Message: err.Error()}
}
