package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/internal/refuse"
	"supervise/plugins"
	"supervise/plugins/client"
)

// Answer is a connection on which somebody waits to hear how a restore ended.
// Nobody does on the zero Answer.
type Answer struct {
	FD int
	ID int64
}

// ParseAnswer reads "FD:ID".
func ParseAnswer(text string) (a Answer, err error) {
	if text == "" {
		return a, nil
	}
	if _, err = fmt.Sscanf(text, "%d:%d", &a.FD, &a.ID); err != nil || a.FD < 3 {
		return Answer{}, fmt.Errorf("%q is not FD:ID", text)
	}
	unix.CloseOnExec(a.FD)
	return a, nil
}

// restored tells that the tree was replaced. The connection goes on.
func (a Answer) restored(s *control.Server, o client.Outcome) error {
	if a.FD == 0 {
		return nil
	}
	o.Outcome = "restored"
	return s.Continue(a.FD, a.ID, o)
}

// Failed tells why the tree could not be replaced, and ends the connection.
func (a Answer) Failed(why error, hint string) {
	if a.FD == 0 {
		return
	}
	l := client.Line{ID: &a.ID, Error: &client.Error{Code: client.Host, Message: "the tree is gone, and cannot be brought back: " + why.Error(), Hint: hint}}
	if b, err := json.Marshal(l); err == nil {
		_, _ = unix.Write(a.FD, append(b, '\n'))
	}
	unix.Close(a.FD)
}

// ErrorAnswer is what has kept a snapshot from being taken, as the control protocol has it. hint may be
// empty.
func ErrorAnswer(err error, hint string) *client.Error {
	answer := &client.Error{Code: client.Failed, Message: err.Error(), Hint: hint}
	var said *client.Error
	var plugin *plugins.RefusedError
	switch {
	case errors.As(err, &said):
		answer.Code = said.Code
		if hint == "" {
			answer.Hint = said.Hint
		}
	case errors.As(err, &plugin), errors.Is(err, refuse.ErrUnsupported):
		answer.Code = client.Refused
	}
	return answer
}
