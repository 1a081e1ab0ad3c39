package memstate

import "supervise/internal/translate"

// Translate changes the paths of mapped files. The program itself stays where
// it is: the kernel takes it from its own path, and so does who executes it again.
func (s *Space) Translate(v *translate.Values) {
	for i := range s.VMAs {
		if m := &s.VMAs[i]; m.Kind == File && m.Path != s.MM.Exe {
			m.Path = v.Path(m.Path)
		}
	}
}

// Translate changes where a file is brought back that has a name, or had one.
func (o *Object) Translate(v *translate.Values) {
	if o.Kind == SavedFile || o.Kind == UnlinkedFile {
		o.Name = v.Path(o.Name)
	}
}
