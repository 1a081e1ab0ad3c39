package usage

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Manual is what man pages say besides what the model has.
type Manual struct {
	App     *kong.Application
	Version string
	Summary string // of the program, in a few words

	Intro    string    // description of the program
	Sections []Section // of the program's own page, after the commands
}

// Section is a part of a page: paragraphs of text, or a list of terms.
type Section struct {
	Title string
	Text  []string
	Items []Item
}

// Item is a term and what it means.
type Item struct{ Term, Text string }

// Pages gives all pages by the name of their file.
func (m *Manual) Pages() map[string]string {
	pages := map[string]string{m.App.Name + ".1": m.program()}
	for _, node := range m.App.Children {
		if !node.Hidden {
			pages[m.App.Name+"-"+node.Name+".1"] = m.command(node)
		}
	}
	return pages
}

// program is the page of the program as a whole.
func (m *Manual) program() string {
	p := m.page(m.App.Name, m.Summary)
	p.section("SYNOPSIS")
	p.synopsis(m.App.Name, "COMMAND", "...")
	p.section("DESCRIPTION")
	p.text(m.Intro)
	p.section("COMMANDS")
	for _, node := range m.App.Children {
		if !node.Hidden {
			p.item(fmt.Sprintf(`.BR %s (1)`, escape(m.App.Name+"-"+node.Name)), node.Help)
		}
	}
	p.flags("OPTIONS", m.App.Node)
	for _, s := range m.Sections {
		p.section(s.Title)
		for _, text := range s.Text {
			p.text(text)
		}
		for _, i := range s.Items {
			p.item(`.B `+escape(i.Term), i.Text)
		}
	}
	return p.String()
}

// command is the page of a command, with those below it.
func (m *Manual) command(node *kong.Node) string {
	p := m.page(m.App.Name+"-"+node.Name, node.Help)
	leaves := []*kong.Node{node}
	if len(node.Children) > 0 {
		leaves = node.Leaves(true)
	}
	p.section("SYNOPSIS")
	for i, leaf := range leaves {
		if i > 0 {
			p.line(".br")
		}
		p.synopsis(m.App.Name+" "+leaf.Path(), synopsis(leaf)...)
	}
	p.section("DESCRIPTION")
	p.text(node.Help)
	p.text(node.Detail)
	for _, leaf := range leaves {
		if leaf != node {
			p.section(strings.ToUpper(m.App.Name + " " + leaf.Path()))
			p.text(leaf.Help)
			p.text(leaf.Detail)
		}
		p.arguments(leaf)
		p.flags("OPTIONS", leaf)
	}
	p.section("SEE ALSO")
	p.line(fmt.Sprintf(".BR %s (1)", escape(m.App.Name)))
	return p.String()
}

// synopsis is what follows a command's name.
func synopsis(node *kong.Node) []string {
	words := []string{"[OPTION]..."}
	for _, a := range node.Positional {
		word := strings.ToUpper(a.Name)
		if a.IsCumulative() {
			word += "..."
		}
		if !a.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return words
}

// page is a man page in the making (man 7 groff_man).
type page struct{ strings.Builder }

func (m *Manual) page(name, summary string) *page {
	p := &page{}
	p.line(fmt.Sprintf(`.TH %s 1 "" "%s %s"`, escape(strings.ToUpper(name)), escape(m.App.Name), escape(m.Version)))
	p.section("NAME")
	p.line(escape(name) + ` \- ` + escape(strings.TrimSuffix(summary, ".")))
	return p
}

func (p *page) line(text string) { p.WriteString(text + "\n") }

func (p *page) section(title string) { p.line(".SH " + escape(title)) }

// synopsis writes a command's name in bold and the rest in italics.
func (p *page) synopsis(name string, rest ...string) {
	p.line(".B " + escape(name))
	p.line(".I " + escape(strings.Join(rest, " ")))
}

// text writes paragraphs, one a line.
func (p *page) text(text string) {
	for _, paragraph := range strings.Split(text, "\n\n") {
		if paragraph != "" {
			p.line(".PP")
			p.line(escape(paragraph))
		}
	}
}

func (p *page) item(term, text string) {
	p.line(".TP")
	p.line(term)
	p.line(escape(text))
}

func (p *page) arguments(node *kong.Node) {
	if len(node.Positional) == 0 {
		return
	}
	p.line(".SS Arguments")
	for _, a := range node.Positional {
		p.item(".I "+escape(strings.ToUpper(a.Name)), a.Help)
	}
}

// flags writes the flags that belong to a node itself.
func (p *page) flags(title string, node *kong.Node) {
	if len(node.Flags) == 0 {
		return
	}
	if node.Type == kong.ApplicationNode {
		p.section(title)
	} else {
		p.line(".SS Options")
	}
	for _, f := range node.Flags {
		if f.Hidden {
			continue
		}
		term := ".BR "
		if f.Short != 0 {
			term += escape("-"+string(f.Short)) + ` ", " `
		}
		term += escape("--" + f.Name)
		if !f.IsBool() {
			term += ` = \fI` + escape(Placeholder(f)) + `\fR`
		}
		p.item(term, f.Help)
	}
}

// escape keeps text from being read as requests, and minus signs from
// becoming hyphens.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
