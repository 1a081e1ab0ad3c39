package usage

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

// The scripts leave all thinking to the program's hidden command __complete:
// it gets the words, and prints a candidate a line, a tab and its help, and at
// last a colon and the place where the shell may look for more.
var (
	//go:embed completion.bash
	bashScript string
	//go:embed completion.zsh
	zshScript string
	//go:embed completion.fish
	fishScript string
)

// Shells are those that there is completion for.
var Shells = []string{"bash", "zsh", "fish"}

// Script gives the completion of a program for a shell.
func Script(shell, program string) (string, error) {
	scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	script, ok := scripts[shell]
	if !ok {
		return "", fmt.Errorf("there is no completion for %s", shell)
	}
	return strings.ReplaceAll(script, "PROGRAM", program), nil
}

// Print prints candidates in the form that the scripts read.
func Print(w io.Writer, list []Candidate, place Place) error {
	var b strings.Builder
	line := strings.NewReplacer("\n", " ", "\t", " ")
	for _, c := range list {
		fmt.Fprintf(&b, "%s\t%s\n", line.Replace(c.Word), line.Replace(c.Help))
	}
	fmt.Fprintf(&b, ":%s\n", place)
	_, err := io.WriteString(w, b.String())
	return err
}
