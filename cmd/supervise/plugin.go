package main

import (
	"supervise/plugins"
	"supervise/plugins/client"
)

// pluginFlags say who takes part in snapshots and restarts.
type pluginFlags struct {
	Plugin       []string `help:"Let the plugin with this manifest take part (docs/plugins.md). Repeatable." placeholder:"FILE" type:"path" sep:"none"`
	OnCheckpoint []string `help:"Run a shell command before a snapshot; if it fails, none is taken. Repeatable." placeholder:"COMMAND" sep:"none"`
	OnResume     []string `help:"Run a shell command when the original goes on after a snapshot. Repeatable." placeholder:"COMMAND" sep:"none"`
	OnRestart    []string `help:"Run a shell command when a restarted copy goes on. Repeatable." placeholder:"COMMAND" sep:"none"`

	SignalBefore string `help:"Before a snapshot send the root process this signal, and wait until it has handled it or, if FILE is given, has made that file (10s)." placeholder:"SIG[:TIME[:FILE]]"`
	SignalAfter  string `help:"Send this one when it goes on, after the snapshot and after a restart." placeholder:"SIG"`
	Exclude      string `help:"Leave out memory that the program has marked by madvise(MADV_DONTDUMP): it comes back as zeros." placeholder:"dontdump"`
}

// specs names the plugins.
func (f *pluginFlags) specs() []plugins.Spec {
	var specs []plugins.Spec
	for _, file := range f.Plugin {
		specs = append(specs, plugins.Spec{File: file})
	}
	for _, hook := range []struct {
		event    string
		commands []string
	}{{client.BeforeFreeze, f.OnCheckpoint}, {client.Resumed, f.OnResume}, {client.Restarted, f.OnRestart}} {
		for _, command := range hook.commands {
			specs = append(specs, plugins.Spec{Event: hook.event, Command: command})
		}
	}
	if f.SignalBefore != "" || f.SignalAfter != "" {
		specs = append(specs, plugins.Spec{SignalBefore: f.SignalBefore, SignalAfter: f.SignalAfter})
	}
	if f.Exclude != "" {
		specs = append(specs, plugins.Spec{Exclude: f.Exclude})
	}
	return specs
}

// Validate is called by kong.
func (f *pluginFlags) Validate() error {
	_, err := plugins.Load(f.specs())
	return err
}
