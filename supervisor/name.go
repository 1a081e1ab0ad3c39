package supervisor

import (
	"fmt"
	"path/filepath"
	"strings"
)

// maxName leaves room for what is appended to make a name unique.
const maxName = 200

// NameError says why a name cannot be that of a job.
type NameError struct {
	Name string
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("job name %q: %s", e.Name, e.Why) }

// CheckName refuses what cannot be the name of a job: it is the name of a
// directory, and must not look like a pid or a flag.
func CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "is empty"
	case len(name) > maxName:
		why = fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.ContainsRune(name, '/'):
		why = "has a slash"
	case name[0] == '.' || name[0] == '-':
		why = fmt.Sprintf("begins with %q", name[0])
	case strings.Trim(name, "0123456789") == "":
		why = "looks like a pid"
	case strings.ContainsFunc(name, unprintable):
		why = "has a control character"
	default:
		return nil
	}
	return &NameError{name, why}
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

// nameFor makes the name of a job out of any text, such as a command.
func nameFor(text string) string {
	name := filepath.Base(text)
	name = strings.Map(func(r rune) rune {
		if unprintable(r) || r == '/' {
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeft(name, ".-")
	name = name[:min(len(name), maxName)]
	if CheckName(name) != nil {
		return "job-" + strings.TrimLeft(name, "/")
	}
	return name
}
