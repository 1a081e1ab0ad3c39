package main

import (
	"fmt"
	"path/filepath"

	"supervise/policy"
	"supervise/supervisor"
)

// checkpointRules are the flags of checkpoint that make rules.
type checkpointRules struct {
	Policy    string   `help:"Go by the rules in this file. Default: those that the job was started with." placeholder:"FILE" type:"path"`
	SaveFiles []string `help:"Save the content of open files that match, and bring it back at a restart. Repeatable." placeholder:"PATTERN" sep:"none"`
}

// ruleSet is a policy, and the rules that come before it.
type ruleSet struct {
	policy *policy.Policy
	first  []policy.Rule
}

func (c *checkpointRules) rules() (ruleSet, error) {
	var set ruleSet
	for _, pattern := range c.SaveFiles {
		glob, err := policy.NewPathGlob(pattern)
		if err != nil {
			return set, &usageError{fmt.Errorf("--save-files: %w", err)}
		}
		set.first = append(set.first, policy.Rule{Origin: "--save-files " + pattern, When: policy.Checkpoint,
			Action: policy.Save, Path: []policy.Glob{glob}})
	}
	var err error
	set.policy, err = supervisor.ReadPolicy(c.Policy)
	return set, err
}

// restartRules are the flags of restart that make rules.
type restartRules struct {
	Policy        string `help:"Go by the rules in this file, and snapshots of the job, too. Default: those that the job was started with." placeholder:"FILE" type:"path"`
	TruncateFiles bool   `help:"Cut files that have grown since the snapshot back to the size they had, if the tree writes to them."`
	Tcp           string `name:"tcp" help:"What becomes of TCP connections that lead out of the tree: reset (the program gets ECONNRESET), close (it sees the end), connect (anew, to the old address), or keep (as root, after checkpoint --stop --tcp=keep: the other end notices nothing)." enum:"reset,close,connect,keep" default:"reset" placeholder:"WHAT"`
	Unix          string `help:"What becomes of connections by unix sockets that lead out of the tree: reset (the program gets ECONNRESET), close (it sees the end), or connect (anew, by name)." enum:"reset,close,connect" default:"reset" placeholder:"WHAT"`
	Stdin         string `help:"What the tree gets as standard input: a file, null, or inherit (that of restart)." placeholder:"WHAT"`
	Stdout        string `help:"What it gets as standard output: a file to append to, null, or inherit." placeholder:"WHAT"`
	Stderr        string `help:"What it gets as standard error." placeholder:"WHAT"`
}

// rules are the flags' rules and those of the policy: the one that is named, or
// that of the job.
func (c *restartRules) rules(ofJob string) (*policy.Policy, error) {
	p, err := supervisor.ReadPolicy(c.Policy)
	if c.Policy == "" {
		p, err = supervisor.ReadJobPolicy(ofJob)
	}
	if err != nil {
		return nil, err
	}
	var first, last []policy.Rule
	for _, s := range []struct{ stream, what string }{{"stdin", c.Stdin}, {"stdout", c.Stdout}, {"stderr", c.Stderr}} {
		if s.what == "" {
			continue
		}
		r, err := streamRule(s.stream, s.what)
		if err != nil {
			return nil, err
		}
		first = append(first, r)
	}
	for _, o := range []struct{ flag, what, kind string }{{"unix", c.Unix, "unix-socket"}, {"tcp", c.Tcp, "tcp-socket"}} {
		rule, err := outsideRule(o.flag, o.what, o.kind)
		if err != nil {
			return nil, err
		}
		if rule != nil {
			last = append(last, *rule)
		}
	}
	if c.TruncateFiles {
		last = append(last, policy.Rule{Origin: "--truncate-files", When: policy.Restart, Action: policy.Truncate, All: true})
	}
	return p.With(first, last), nil
}

// flags are those that a restart in the place of this one is given: its tree has
// the standard streams of the one before.
func (c *restartRules) flags() []string {
	flags := []string{"--tcp=" + c.Tcp, "--unix=" + c.Unix}
	if c.TruncateFiles {
		flags = append(flags, "--truncate-files")
	}
	return flags
}

// outsideActions are the actions that flags about connections out of the tree
// stand for.
var outsideActions = map[string]policy.Action{"close": policy.Hangup, "connect": policy.Connect, "keep": policy.Keep}

// outsideRule is what --unix and --tcp stand for; nil for the default.
func outsideRule(flag, what, kind string) (*policy.Rule, error) {
	action, ok := outsideActions[what]
	if !ok {
		return nil, nil
	}
	glob, err := policy.NewGlob(kind)
	return &policy.Rule{Origin: "--" + flag + " " + what, When: policy.Restart, Action: action, Kind: []policy.Glob{glob}}, err
}

// streamRule is what --stdin, --stdout and --stderr stand for.
func streamRule(stream, what string) (policy.Rule, error) {
	r := policy.Rule{Origin: "--" + stream + " " + what, When: policy.Restart, Action: policy.Redirect, Stream: []string{stream}}
	switch what {
	case "inherit":
		r.Action = policy.Inherit
	case "null":
		r.To = "/dev/null"
	default:
		var err error
		r.Append = true
		if r.To, err = filepath.Abs(what); err != nil {
			return r, &usageError{fmt.Errorf("--%s: %w", stream, err)}
		}
	}
	return r, nil
}
