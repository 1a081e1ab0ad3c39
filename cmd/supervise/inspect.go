package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"supervise/memimg"
)

type inspectCmd struct {
	Image string `arg:"" help:"Directory of the snapshot." type:"path"`
	JSON  bool   `name:"json" help:"Print everything as JSON."`
}

// imageFacts is what inspect --json prints.
type imageFacts struct {
	Image    string          `json:"image"`
	Manifest memimg.Manifest `json:"manifest"`
}

func (c *inspectCmd) Run(out *output) error {
	image, err := memimg.Open(c.Image)
	if err != nil {
		return &imageError{c.Image, err}
	}
	defer image.Close()
	facts := imageFacts{Image: c.Image, Manifest: image.Manifest()}
	if c.JSON {
		return out.json(facts)
	}
	return printManifest(out, &facts)
}

// printManifest prints the manifest for people.
func printManifest(out *output, facts *imageFacts) error {
	m := &facts.Manifest
	w := tabwriter.NewWriter(out.stdout, 0, 8, 2, ' ', 0)
	row := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	row("image", "%s", facts.Image)
	row("id", "%s", m.ID)
	row("created", "%s by supervise %s, format %d", m.Created.Format("2006-01-02 15:04:05 MST"), m.Program, m.Format)
	row("host", "%s, Linux %s, %s, xfeatures %#x", m.Host.Name, m.Host.Kernel, m.Host.Arch, uint64(m.Host.XFeatures))
	row("job", "%s", m.Summary.Job)
	row("command", "%s", strings.Join(m.Summary.Command, " "))
	row("tree", "pid %d, %d processes, %d threads", m.Summary.RootPID, m.Summary.Processes, m.Summary.Threads)
	row("memory", "%s", byteCount(m.Summary.PageBytes))
	for _, l := range m.Layers {
		row("layer", "%s (%s)", l.Dir, l.ID)
	}
	for _, p := range m.Phases {
		row("phase", "%-9s at %9s for %9s", p.Name, round(p.Start), round(p.Duration))
	}
	return w.Flush()
}
