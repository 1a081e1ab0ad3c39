package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"supervise/internal/features"
	"supervise/netstate"
	"supervise/policy"
	"supervise/tracer"
)

// update writes the generated parts of README anew:
//
//	go test ./cmd/supervise -run TestReadme -update
var update = flag.Bool("update", false, "write the generated parts of README")

// generated are the parts of documents that are made from tables in the code.
var generated = map[string]map[string]func() string{
	"../../README.md": {
		"exitcodes": exitTable,
		"kinds":     kindTable,
		"features":  featureTable,
	},
	"../../docs/policy.md": {"kinds": kindWords},
}

func TestReadme(t *testing.T) {
	for document, parts := range generated {
		checkGenerated(t, document, parts)
	}
}

func checkGenerated(t *testing.T, document string, parts map[string]func() string) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range parts {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
		head, rest, ok := strings.Cut(text, begin)
		old, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no part %s", document, name)
		}
		if old != table() && !*update {
			t.Errorf("the part %s of %s is stale; go test ./cmd/supervise -run TestReadme -update", name, document)
		}
		text = head + begin + table() + end + tail
	}
	if *update {
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
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
		if k.ByRule() {
			continue
		}
		captured := "yes"
		switch {
		case k.Only != "":
			captured += ": " + k.Only
		case k.New == nil && k.Why == "":
			captured = "no: not yet"
		case k.New == nil:
			captured = "no: " + k.Why
		}
		fmt.Fprintf(&b, "| %s | %s |\n", k.Name, captured)
	}
	return b.String()
}

func kindWords() string {
	var b strings.Builder
	for _, name := range tracer.KindNames() {
		fmt.Fprintf(&b, "- `%s`\n", strings.Join(policy.Words(name), "`, `"))
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
