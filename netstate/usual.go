package netstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// usuals is what new sockets have, for one snapshot.
type usuals map[usualOf]*usual

// usualOf is what a socket is made as.
type usualOf struct{ domain, typ, protocol int }

// usual is what a new socket of a kind has: what is asked for, once.
type usual struct {
	of     usualOf
	all    *fdstate.Survey
	values map[optionRow][]byte
}

func (u usuals) of(all *fdstate.Survey, domain, typ, protocol int) *usual {
	key := usualOf{domain, typ, protocol}
	if u[key] == nil {
		u[key] = &usual{of: key, values: map[optionRow][]byte{}}
	}
	u[key].all = all
	return u[key]
}

// socket makes a new one, by us or, where we may not and the tree lives in
// another network namespace, by the tree.
func (u *usual) socket() (int, error) {
	fd, err := unix.Socket(u.of.domain, u.of.typ|unix.SOCK_CLOEXEC, u.of.protocol)
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	if ours, nsErr := InOurs(u.all.Procs[0].Held.PID); ours || nsErr != nil {
		return fd, errors.Join(err, nsErr)
	}
	p, insideErr := u.all.Inside(0)
	if insideErr != nil {
		return -1, insideErr
	}
	return borrowSocket(p, u.of.domain, u.of.typ, u.of.protocol)
}

// get is the value that an option has.
func (u *usual) get(row optionRow) ([]byte, error) {
	if value, ok := u.values[row]; ok {
		return value, nil
	}
	fd, err := u.socket()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, fdstate.Refuse("this user may not make such a socket, so it could not come back", "take the snapshot as root")
	}
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	value, err := row.get(fd)
	u.values[row] = value
	return value, err
}
