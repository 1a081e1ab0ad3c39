package supervisor

import (
	"math"
	"path/filepath"

	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
)

// participation is how plugins take part in a restart: those in the image, then
// those of the command.
type participation struct {
	specs  []plugins.Spec
	runner *plugins.Runner
	facts  client.Facts
	asked  bool
	most   int // entries of the lists in facts
}

// participate reads the plugins.
func participate(o *RestartOptions, m *memimg.Manifest) (*participation, error) {
	p := &participation{}
	if m.Control != nil {
		p.facts.Generation = m.Control.Generation
	}
	p.specs = allPlugins(m, o.Plugins)
	list, err := plugins.Load(p.specs)
	if err != nil {
		return nil, err
	}
	if o.EnvFile != "" {
		env, err := plugins.Environment(o.EnvFile)
		if err != nil {
			return nil, err
		}
		list = append(list, env)
	}
	p.most = client.Most
	if o.Log != "" {
		log, err := plugins.Log(o.Log)
		if err != nil {
			return nil, err
		}
		list, p.most = append(list, log), math.MaxInt
	}
	p.runner = plugins.NewRunner(list, nil)
	p.facts.Job = m.Summary.Job
	if p.facts.Image, err = filepath.Abs(o.Image); err != nil {
		return nil, err
	}
	return p, nil
}

// found is told what the tree will have.
func (p *participation) found(o *client.Objects) { p.facts.Objects = o }

// before asks what is to be otherwise in the tree. A restart may have to be
// begun once more: plugins are asked once.
func (p *participation) before(blobs map[string][]byte) (*plugins.Changes, error) {
	if !p.asked {
		p.asked = true
		p.runner.SetBlobs(blobs)
		if err := p.event(client.BeforeRestart, ""); err != nil {
			return nil, err
		}
	}
	return &p.runner.Changes, nil
}

func (p *participation) event(name, reason string) error {
	facts := p.facts
	if name != client.BeforeRestart {
		facts.Changes = p.runner.Changes.List()
	}
	return p.runner.Event(client.Event{Name: name, Reason: reason, Snapshot: &facts})
}
