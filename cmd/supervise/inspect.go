package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/memimg"
	"supervise/memstate"
	"supervise/netstate"
	"supervise/tracer"
	"supervise/treestate"
)

type inspectCmd struct {
	imageArg
	JSON bool `name:"json" help:"Print every record, as JSON."`
}

// imageFacts is what inspect --json prints.
type imageFacts struct {
	Image    string          `json:"image"`
	Manifest memimg.Manifest `json:"manifest"`
	Pause    time.Duration   `json:"pause_ns"`
	Tree     *treestate.Tree `json:"tree"`
}

func (c *inspectCmd) Run(out *output) error {
	found, image, err := c.open(out)
	if err != nil {
		return err
	}
	defer image.Close()
	tree, err := treestate.Decode(image.Records())
	if err != nil {
		return fmt.Errorf("%s: %w", found.Dir, err)
	}
	facts := imageFacts{Image: found.Dir, Manifest: image.Manifest(), Pause: tracer.Pause(image.Manifest().Phases), Tree: tree}
	if c.JSON {
		return out.json(facts)
	}
	if err := printManifest(out.stdout, &facts); err != nil {
		return err
	}
	for i := range tree.Processes {
		printProcess(out.stdout, tree, i)
	}
	if tree.IPC != nil {
		printIPC(out.stdout, tree.IPC)
	}
	return nil
}

// printManifest prints the manifest for people.
func printManifest(stdout io.Writer, facts *imageFacts) error {
	m := &facts.Manifest
	w := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
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
	row("pause", "%s", round(facts.Pause))
	printPhases(row, m.Phases)
	return w.Flush()
}

// printPhases prints a time line.
func printPhases(row func(key, format string, args ...any), phases []memimg.Phase) {
	for _, p := range phases {
		row("phase", "%-9s at %9s for %9s", p.Name, round(p.Start), round(p.Duration))
	}
}

// printProcess prints what a snapshot holds of one process.
func printProcess(w io.Writer, tree *treestate.Tree, i int) {
	p := &tree.Processes[i]
	fmt.Fprintf(w, "\nprocess %d: %s\n", p.ID, strings.Join(p.Command, " "))
	fmt.Fprintf(w, "  ppid %d, pgid %d, sid %d, cwd %s, umask %04o\n", p.Parent, p.Group, p.Session, p.FS.Cwd, p.FS.Umask)
	for _, t := range p.Threads {
		fmt.Fprintf(w, "  thread %d: %s\n", t.ID, t.Name)
	}
	for n, h := range tree.Holders() {
		if h.Process != i || n >= len(tree.Files.Tables) {
			continue
		}
		of := ""
		if h.Thread > 0 {
			of = fmt.Sprintf("thread %d: ", p.Threads[h.Thread].ID)
		}
		for _, fd := range tree.Files.Tables[n] {
			fmt.Fprintf(w, "  %sfd %d: %s\n", of, fd.Num, describeFile(&tree.Files, fd.File))
		}
	}
	for j := range p.Mem.VMAs {
		fmt.Fprintf(w, "  mapping %s\n", describeMapping(&p.Mem.VMAs[j]))
	}
}

// describeFile tells what an open file description is.
func describeFile(files *fdstate.State, i int) string {
	if i < 0 || i >= len(files.Files) {
		return "?"
	}
	f := &files.Files[i]
	if to := f.Redirect(); to != "" {
		return fmt.Sprintf("%s (%s), in place of %s", to, kindName(f.Tag), f.Link)
	}
	return fmt.Sprintf("%s (%s), flags %#o, position %d, description %d", f.Link, kindName(f.Tag), f.Flags, f.Pos, i)
}

// kindName gives the name of a kind of descriptor.
func kindName(tag fdstate.Tag) string {
	for _, k := range netstate.WithFiles() {
		if k.Tag == tag {
			return k.Name
		}
	}
	return fmt.Sprintf("kind %d", tag)
}

// describeMapping tells what a mapping is, as /proc/PID/maps does.
func describeMapping(v *memstate.VMA) string {
	s := fmt.Sprintf("%x-%x %s", uint64(v.Start), uint64(v.End), protection(v))
	switch {
	case v.Path != "":
		s += fmt.Sprintf(" %s at %#x", v.Path, v.Offset)
	case v.Kind == memstate.InObject:
		s += fmt.Sprintf(" shared object %d at %#x", v.Object, v.Offset)
	case v.Name != "":
		s += " [anon:" + v.Name + "]"
	}
	return s
}

// protection writes the access to a mapping: rwxs, rwxp.
func protection(v *memstate.VMA) string {
	letters := []byte("---p")
	for i, bit := range []int{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if v.Prot&bit != 0 {
			letters[i] = "rwx"[i]
		}
	}
	if v.Shared {
		letters[3] = 's'
	}
	return string(letters)
}
