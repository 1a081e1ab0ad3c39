package supervisor

import (
	"slices"

	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/restorer"
)

// Handover is what restart was told besides the image and what the record of the
// job has. The restart that takes its place when the tree is replaced
// (replace.go) is told it again, since an earlier snapshot does not have it.
//
// run hands on its plugins alone: its rules for what the program sees, with their
// values, and the filter of --no-io-uring are in every snapshot of its tree.
type Handover struct {
	Virtualize string         // file of rules, or ""
	EnvFile    string         // or ""
	Log        string         // or ""
	Force      bool           // as RestartOptions.Force
	IDs        restorer.IDs   // or ""
	Net        restorer.Net   // or ""
	Plugins    []plugins.Spec // hooks, too
	Flags      []string       // that stand for rules of a policy
}

// pluginFlags are the flags for hooks, by event.
var pluginFlags = map[string]string{
	client.BeforeFreeze: "--on-checkpoint",
	client.Resumed:      "--on-resume",
	client.Restarted:    "--on-restart",
}

// args are the flags that say all that.
func (h *Handover) args() []string {
	var args []string
	for _, f := range []struct{ name, value string }{
		{"--virtualize", h.Virtualize}, {"--env-file", h.EnvFile}, {"--log", h.Log}, {"--ids", string(h.IDs)}, {"--net", string(h.Net)},
	} {
		if f.value != "" {
			args = append(args, f.name+"="+f.value)
		}
	}
	if h.Force {
		args = append(args, "--force")
	}
	for _, s := range h.Plugins {
		for _, f := range []struct{ name, value string }{{"--plugin", s.File}, {pluginFlags[s.Event], s.Command},
			{"--signal-before", s.SignalBefore}, {"--signal-after", s.SignalAfter}, {"--exclude", s.Exclude}} {
			if f.value != "" {
				args = append(args, f.name+"="+f.value)
			}
		}
	}
	return append(args, h.Flags...)
}

// check reads the files that it names once more, while there is a way back.
func (h *Handover) check(o *restorer.Options, m *memimg.Manifest) error {
	var err error
	if o.Virtual, err = ReadWishes(h.Virtualize); err != nil {
		return err
	}
	if h.EnvFile != "" {
		if _, err := plugins.Environment(h.EnvFile); err != nil {
			return err
		}
	}
	o.Force, o.IDs, o.Net = h.Force, h.IDs, h.Net
	if o.IDs == restorer.IDsKeep {
		o.IDs = restorer.IDsAuto // the ids are taken by the tree that is there
	}
	_, err = plugins.Load(allPlugins(m, h.Plugins))
	return err
}

// allPlugins are those that an image names, and others, each once.
func allPlugins(m *memimg.Manifest, others []plugins.Spec) []plugins.Spec {
	var all []plugins.Spec
	if m.Control != nil {
		for _, spec := range m.Control.Plugins {
			all = append(all, plugins.Spec(spec))
		}
	}
	return joinPlugins(all, others)
}

// joinPlugins adds plugins to others. Who is named twice takes part once: a
// crontab names what the job may have by now from its image.
func joinPlugins(lists ...[]plugins.Spec) []plugins.Spec {
	var all []plugins.Spec
	for _, spec := range slices.Concat(lists...) {
		if !slices.Contains(all, spec) {
			all = append(all, spec)
		}
	}
	return all
}
