package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"supervise/plugins/client"
)

// logging is a plugin that is built in: it appends to a file what a restart
// brings back, a JSON object a line.
type logging struct{ file string }

// Log makes it. The file is made at once, so that one that cannot be written
// is found out before anything is done.
func Log(file string) (*Plugin, error) {
	l := &logging{file}
	if err := l.append(); err != nil {
		return nil, err
	}
	return builtIn("log "+file, l.event, client.Restored, client.Restarted), nil
}

// entry is a line. What says which of the others there are.
type entry struct {
	What string `json:"what"` // "restored", "process", "descriptor", "change" or "restarted"

	Time       *time.Time     `json:"time,omitempty"`
	Job        string         `json:"job,omitempty"`
	Image      string         `json:"image,omitempty"`
	Generation *int           `json:"generation,omitempty"`
	RootPID    int            `json:"root_pid,omitempty"` // as this host sees it
	Processes  int            `json:"processes,omitempty"`
	Threads    int            `json:"threads,omitempty"`
	Kinds      map[string]int `json:"kinds,omitempty"`

	Process    *client.Process `json:"process,omitempty"`
	Descriptor *client.File    `json:"descriptor,omitempty"`
	Change     string          `json:"change,omitempty"`
}

// event writes all at restored, when nothing has run yet, and one line more when
// it runs: where that is missing, the restart has failed.
func (l *logging) event(e client.Event) (*Reply, error) {
	f := e.Snapshot
	now := time.Now()
	head := entry{What: e.Name, Time: &now, Job: f.Job, Image: f.Image, Generation: &f.Generation, RootPID: f.RootPID}
	if e.Name == client.Restarted || f.Objects == nil {
		return nil, l.append(head)
	}
	o := f.Objects
	head.Processes, head.Threads, head.Kinds = o.Processes, o.Threads, o.Descriptors
	lines := []entry{head}
	for i := range o.Tree {
		lines = append(lines, entry{What: "process", Process: &o.Tree[i]})
	}
	for i := range o.Files {
		lines = append(lines, entry{What: "descriptor", Descriptor: &o.Files[i]})
	}
	for _, c := range f.Changes {
		lines = append(lines, entry{What: "change", Change: c})
	}
	return nil, l.append(lines...)
}

func (l *logging) append(lines ...entry) error {
	f, err := os.OpenFile(l.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	var text []byte
	for _, line := range lines {
		b, err := json.Marshal(line)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		text = append(append(text, b...), '\n')
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
