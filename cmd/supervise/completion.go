package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"supervise/internal/usage"
	"supervise/plugins"
	"supervise/supervisor"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completionCmd) Help() string {
	return "To have it in bash, put this into ~/.bashrc: source <(supervise completion bash)\n\n" +
		"In zsh, into ~/.zshrc after compinit: source <(supervise completion zsh)\n\n" +
		"In fish: supervise completion fish > ~/.config/fish/completions/supervise.fish"
}

func (c *completionCmd) Run(out *output) error {
	script, err := usage.Script(c.Shell, "supervise")
	if err != nil {
		return &usageError{err}
	}
	out.printf("%s", script)
	return nil
}

// completeCmd is what the scripts ask.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

func (c *completeCmd) Run(out *output, app *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	completer := usage.Completer{App: app.Model, Values: completions}
	list, place := completer.Complete(words)
	return usage.Print(out.stdout, list, place)
}

// completions says what may stand for the placeholders of flags and the names
// of arguments. A test makes sure that none is missing.
var completions = map[string]usage.Values{
	"D":         {Place: usage.Dirs},
	"DIR":       {Place: usage.Dirs},
	"dir":       {Place: usage.Dirs},
	"FILE":      {Place: usage.Files},
	"PATTERN":   {Place: usage.Files},
	"RULES":     {Place: usage.Files},
	"WHAT":      {Place: usage.Files, Words: []string{"null", "inherit"}},
	"N":         {},
	"DUR":       {Words: []string{"10m", "1h", "1d"}},
	"cmd":       {Place: usage.Commands},
	"pid|name":  {List: listJobs},
	"NAME|PID":  {List: listJobs},
	"name":      {List: listNames},
	"image":     {Place: usage.Dirs, List: listImages},
	"name@nnnn": {List: listImages},
	"snapshot":  {List: listImages},
	"NAME":      {},
	"COMMAND":   {Place: usage.Commands},
	"NAME=TEXT": {},
	"FD:ID":     {},
	"SIG":       {Words: signalNames},
	"dontdump":  {Words: []string{plugins.Undumped}},

	"SIG[:TIME[:FILE]]": {Words: signalNames},
	"name=text":         {},
	"shell":             {},
}

// signalNames are those that programs mostly have handlers for.
var signalNames = []string{"USR1", "USR2", "HUP", "WINCH"}

// listJobs lists the jobs that run.
func listJobs(flags map[string]string) []usage.Candidate {
	dir, err := supervisor.JobsDir(flags["dir"])
	if err != nil {
		return nil
	}
	jobs, _ := supervisor.LiveJobs(dir)
	var list []usage.Candidate
	for _, j := range jobs {
		list = append(list, usage.Candidate{Word: j.Name, Help: "pid " + strconv.Itoa(j.Root.PID) + ": " + strings.Join(j.Command, " ")})
	}
	return list
}

// listNames lists all names that have snapshots or run.
func listNames(flags map[string]string) []usage.Candidate {
	dir, err := supervisor.JobsDir(flags["dir"])
	if err != nil {
		return nil
	}
	names, _ := supervisor.JobNames(dir)
	var list []usage.Candidate
	for _, name := range names {
		list = append(list, usage.Candidate{Word: name})
	}
	return list
}

// listImages lists snapshots by their names, and the names that mean the
// newest. Nothing is opened: somebody waits.
func listImages(flags map[string]string) []usage.Candidate {
	list := listNames(flags)
	dir, err := supervisor.JobsDir(flags["dir"])
	if err != nil {
		return nil
	}
	for _, job := range list {
		entries, _ := os.ReadDir(filepath.Join(dir, job.Word))
		for _, e := range entries {
			if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && e.IsDir() {
				list = append(list, usage.Candidate{Word: supervisor.ImageName(job.Word, n)})
			}
		}
	}
	return list
}
