package taskstate

import "supervise/internal/translate"

// Translate changes the directories that processes and threads are in.
func (p *Process) Translate(v *translate.Values) {
	all := []*FS{&p.FS}
	for i := range p.Threads {
		if fs := p.Threads[i].FS; fs != nil {
			all = append(all, fs)
		}
	}
	for _, fs := range all {
		fs.Cwd = v.Path(fs.Cwd)
		if fs.Root != "" {
			fs.Root = v.Path(fs.Root)
		}
	}
}
