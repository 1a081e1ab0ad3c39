package main

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/alecthomas/kong"

	"supervise/internal/usage"
	"supervise/supervisor"
)

type manCmd struct {
	Dir string `arg:"" help:"Directory to write the pages to." type:"path"`
}

func (c *manCmd) Help() string {
	return "Writes supervise.1 and a page for each command, from the same model as the command line. make install puts them into their place."
}

func (c *manCmd) Run(out *output) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	m := manual(newParser(new(cli), out).Model) // that of all commands
	for name, text := range m.Pages() {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manual is what the pages say that the model does not.
func manual(app *kong.Application) *usage.Manual {
	codes := usage.Section{Title: "EXIT STATUS", Text: []string{"run, and restart in the foreground, end as the program did, and by the same signal. Otherwise:"}}
	for _, c := range exitCodes {
		codes.Items = append(codes.Items, usage.Item{Term: strconv.Itoa(c.Code), Text: c.Meaning + "."})
	}
	return &usage.Manual{
		App: app, Version: version(), Summary: "snapshots of running process trees", Intro: description,
		Sections: []usage.Section{
			codes,
			{Title: "ENVIRONMENT", Items: []usage.Item{{Term: supervisor.DirVariable, Text: "Directory of jobs, where --dir is not given."}}},
			{Title: "FILES", Items: []usage.Item{{Term: "DIR/NAME/NNNN", Text: "Snapshots of a job in the directory of jobs, which is the first of these that the user can write to: " +
				"/var/lib/supervise for root, $XDG_STATE_HOME/supervise, ~/.local/state/supervise, /var/tmp/supervise-UID."}}},
		},
	}
}
