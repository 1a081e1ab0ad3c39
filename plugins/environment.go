package plugins

import (
	"fmt"
	"os"
	"strings"

	"supervise/plugins/client"
)

// Environment is a plugin that is built in: it changes variables of the tree as
// a file says that has lines of the forms
//
//	NAME=VALUE     with $VAR and ${VAR} taken from our own environment
//	unset NAME
//	# comment
func Environment(file string) (*Plugin, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	changes := map[string]*string{}
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, set := strings.Cut(line, "=")
		if rest, ok := strings.CutPrefix(name, "unset "); ok && !set {
			changes[strings.TrimSpace(rest)] = nil
			continue
		}
		if !set || name == "" || strings.ContainsAny(name, " \t\x00") {
			return nil, fmt.Errorf("%s:%d: neither NAME=VALUE nor unset NAME", file, i+1)
		}
		value = os.Expand(value, os.Getenv)
		changes[name] = &value
	}
	return builtIn(file, func(client.Event) (*Reply, error) { return &Reply{Environment: changes}, nil }, client.BeforeRestart), nil
}

// builtIn makes a plugin of a function.
func builtIn(name string, fn func(client.Event) (*Reply, error), events ...string) *Plugin {
	return &Plugin{Name: name, Events: events, Failure: Abort, fn: fn}
}
