package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"supervise/internal/features"
	"supervise/netstate"
)

// update writes the generated parts of README anew:
//
//	go test ./cmd/supervise -run TestReadme -update
var update = flag.Bool("update", false, "write the generated parts of README")

const readme = "../../README.md"

// generated are the parts of README that are made from tables in the code.
var generated = map[string]func() string{
	"exitcodes": exitTable,
	"kinds":     kindTable,
	"features":  featureTable,
}

func TestReadme(t *testing.T) {
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range generated {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
		head, rest, ok := strings.Cut(text, begin)
		old, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("README has no part %s", name)
		}
		if old != table() && !*update {
			t.Errorf("the part %s of README is stale; go test ./cmd/supervise -run TestReadme -update", name)
		}
		text = head + begin + table() + end + tail
	}
	if *update {
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func exitTable() string {
	var b strings.Builder
	b.WriteString("| code | meaning |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.Code, c.Meaning)
	}
	return b.String()
}

func kindTable() string {
	var b strings.Builder
	b.WriteString("| descriptor | captured |\n|---|---|\n")
	for _, k := range netstate.WithFiles() {
		captured := "yes"
		switch {
		case k.New == nil && k.Why == "":
			captured = "no: not yet"
		case k.New == nil:
			captured = "no: " + k.Why
		}
		fmt.Fprintf(&b, "| %s | %s |\n", k.Name, captured)
	}
	return b.String()
}

func featureTable() string {
	var b strings.Builder
	b.WriteString("| feature | Linux | enables | without it |\n|---|---|---|---|\n")
	for _, f := range features.All {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Name, f.Since, f.Enables, f.Without)
	}
	return b.String()
}
