package fdstate

import (
	"supervise/internal/procfs"
	"supervise/internal/translate"
	"supervise/policy"
)

// translated is a record with names of the host in it, besides File.Link.
type translated interface {
	// Translate changes them. What was connected to somebody who is called
	// otherwise now is connected anew: then it gives the new name for that.
	Translate(v *translate.Values) (connect string, err error)
}

// Translate changes the names of files and sockets in the state of an image.
// It comes after Apply: rules are about the old names, and count more where they
// say what becomes of a connection that leads out of the tree.
func (s *State) Translate(kinds []Kind, v *translate.Values) error {
	if v.Empty() {
		return nil
	}
	records, err := s.Records(kinds)
	if err != nil {
		return err
	}
	for i, rec := range records {
		f := &s.Files[i]
		if name, deleted := procfs.CutDeleted(f.Link); deleted {
			f.Link = v.Path(name) + f.Link[len(name):]
		} else {
			f.Link = v.Path(f.Link)
		}
		named, ok := rec.(translated)
		if !ok {
			continue
		}
		to, err := named.Translate(v)
		if err != nil {
			return err
		}
		if f.Data, err = encodeRecord(rec); err != nil {
			return err
		}
		if to != "" && (f.rule == nil || f.rule.Does(policy.Connect) && f.rule.To == "") {
			f.rule = &policy.Rule{Origin: "a plugin", When: policy.Restart, Action: policy.Connect, To: to}
		}
	}
	return nil
}

// Translate changes the other name of a file.
func (rec *Regular) Translate(v *translate.Values) (string, error) {
	if rec.Other != "" {
		rec.Other = v.Path(rec.Other)
	}
	return "", nil
}

// Translate changes the names of what is watched.
func (rec *Inotify) Translate(v *translate.Values) (string, error) {
	for i := range rec.Watches {
		rec.Watches[i].File.translate(v)
	}
	return "", nil
}

// Translate changes the names of what is marked.
func (rec *Fanotify) Translate(v *translate.Values) (string, error) {
	for i := range rec.Marks {
		rec.Marks[i].File.translate(v)
	}
	return "", nil
}

// translate leaves links of /proc to files without a name as they are.
func (w *WatchName) translate(v *translate.Values) {
	if !w.Follow {
		w.Path = v.Path(w.Path)
	}
}
