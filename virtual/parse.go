package virtual

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"regexp"
	"strings"

	"supervise/internal/rulefile"
)

// Wishes are the rules of a file, which may leave values to the host, or to the
// snapshot.
type Wishes struct {
	list []wish
}

// wish is one line.
type wish struct {
	origin string
	what   string // the thing it is about; no two lines are about the same
	put    func(*Rules, Source) error
}

// Source has the values that a file leaves out, where the rules have none yet.
type Source interface {
	Hostname() (string, error)
	ReadFile(path string) ([]byte, error) // fs.ErrNotExist: there is no such file
	HardwareAddr(name string) (string, error)
}

// things are what a rule can be about: the first word of its line.
var things = []struct {
	name  string
	form  string
	parse func(args []string) (what string, put func(*Rules, Source) error, err error)
}{
	{"hostname", "hostname [NAME]", parseHostname},
	{"machine-id", "machine-id [ID]", parseMachineID},
	{"boot-id", "boot-id [ID]", parseBootID},
	{"hostid", "hostid [ID]", parseHostID},
	{"file", "file PATH [from=PATH]", parseFile},
	{"address", "address IP [is=IP]", parseAddress},
	{"mac", "mac INTERFACE [ADDRESS]", parseMAC},
	{"call", "call NAME errno=ERROR|value=N", parseCall},
	{"ioctl", "ioctl REQUEST errno=ERROR|[value=N] [bytes=HEX]", parseIoctl},
}

func thingNames() string {
	var names []string
	for _, t := range things {
		names = append(names, t.name)
	}
	return strings.Join(names, ", ")
}

// Parse reads a file of rules. The error lists every bad line.
func Parse(file, text string) (*Wishes, error) {
	w := &Wishes{}
	err := rulefile.Parse(file, text, func(words []rulefile.Word, origin string) error {
		one, err := parseLine(words)
		if err != nil {
			return err
		}
		one.origin = origin
		for _, o := range w.list {
			if o.what == one.what {
				return fmt.Errorf("%s is there already, at %s", one.what, o.origin)
			}
		}
		w.list = append(w.list, one)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(w.list) == 0 {
		return nil, fmt.Errorf("%s: no rule in it: one of %s", file, thingNames())
	}
	return w, nil
}

// Hostname is the wish for a host name.
func Hostname(name string) (*Wishes, error) {
	what, put, err := parseHostname([]string{name})
	return &Wishes{list: []wish{{origin: "hostname " + name, what: what, put: put}}}, err
}

func parseLine(words []rulefile.Word) (wish, error) {
	var args []string
	for _, w := range words[1:] {
		if w.Text == "" {
			return wish{}, errors.New("an empty word")
		}
		args = append(args, w.Text)
	}
	for _, t := range things {
		if t.name != words[0].Text {
			continue
		}
		what, put, err := t.parse(args)
		if errors.Is(err, errForm) {
			err = fmt.Errorf("the rule is: %s", t.form)
		}
		return wish{what: what, put: put}, err
	}
	return wish{}, fmt.Errorf("%q is nothing that a rule can be about: one of %s", words[0].Text, thingNames())
}

var errForm = errors.New("too many or too few words")

// Apply puts what is wished into rules. Where a line has no value, that of the
// rules stays, and where they have none it is the source's.
func (w *Wishes) Apply(r *Rules, from Source) error {
	var errs []error
	for _, one := range w.list {
		if err := one.put(r, from); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.origin, err))
		}
	}
	return errors.Join(errs...)
}

// optional gives the only argument, if there is one.
func optional(args []string) (value string, err error) {
	switch len(args) {
	case 0:
		return "", nil
	case 1:
		return args[0], nil
	}
	return "", errForm
}

func parseHostname(args []string) (string, func(*Rules, Source) error, error) {
	name, err := optional(args)
	if len(name) > maxHostname {
		return "", nil, fmt.Errorf("%.20s...: a host name has at most %d characters", name, maxHostname)
	}
	return "hostname", func(r *Rules, from Source) (err error) {
		switch {
		case name != "":
			r.Hostname = name
		case r.Hostname == "":
			r.Hostname, err = from.Hostname()
		}
		return err
	}, err
}

// idForm is how an id is written.
type idForm struct {
	*regexp.Regexp
	example string
}

// The forms of ids.
var (
	machineIDForm = idForm{regexp.MustCompile("^[0-9a-f]{32}$"), "0123456789abcdef0123456789abcdef"}
	bootIDForm    = idForm{regexp.MustCompile("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"), "01234567-89ab-cdef-0123-456789abcdef"}
	hostIDForm    = idForm{regexp.MustCompile("^[0-9a-f]{8}$"), "01234567"}
)

// id is a number that a host keeps in files.
func id(args []string, form idForm, content func(string) []byte, files ...string) (string, func(*Rules, Source) error, error) {
	value, err := optional(args)
	if value != "" && !form.MatchString(value) {
		return "", nil, fmt.Errorf("%q is not of the form %s", value, form.example)
	}
	return files[0], func(r *Rules, from Source) error {
		for _, name := range files {
			f := File{Path: name}
			switch {
			case value != "":
				f.Content = content(value)
			case r.file(name) != nil:
				continue
			default:
				var err error
				if f.Content, err = from.ReadFile(files[0]); err != nil {
					return err
				}
			}
			r.putFile(f)
		}
		return nil
	}, err
}

func line(value string) []byte { return []byte(value + "\n") }

// parseMachineID: see man 5 machine-id. D-Bus had it first.
func parseMachineID(args []string) (string, func(*Rules, Source) error, error) {
	return id(args, machineIDForm, line, "/etc/machine-id", "/var/lib/dbus/machine-id")
}

func parseBootID(args []string) (string, func(*Rules, Source) error, error) {
	return id(args, bootIDForm, line, "/proc/sys/kernel/random/boot_id")
}

// parseHostID: gethostid(3) reads four bytes in the host's order, and makes
// something of the host's addresses where there is no such file.
func parseHostID(args []string) (string, func(*Rules, Source) error, error) {
	binaryID := func(value string) []byte {
		b, _ := hex.DecodeString(value)
		return binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(b))
	}
	return id(args, hostIDForm, binaryID, "/etc/hostid")
}

func parseFile(args []string) (string, func(*Rules, Source) error, error) {
	if len(args) < 1 || len(args) > 2 {
		return "", nil, errForm
	}
	name, from := args[0], ""
	if len(args) == 2 {
		var ok bool
		if from, ok = strings.CutPrefix(args[1], "from="); !ok {
			return "", nil, errForm
		}
	}
	for _, p := range []string{name, from} {
		if p != "" && (!path.IsAbs(p) || path.Clean(p) != p || p == "/") {
			return "", nil, fmt.Errorf("%q must be a full path, with no . or .. in it", p)
		}
	}
	return name, func(r *Rules, source Source) error {
		if from == "" && r.file(name) != nil {
			return nil
		}
		f, err := readFile(source, name, from)
		if err == nil {
			r.putFile(f)
		}
		return err
	}, nil
}

// readFile reads the content for a file: of from on this host, or else what
// the source has.
func readFile(source Source, name, from string) (File, error) {
	f := File{Path: name}
	var err error
	if from != "" {
		f.Content, err = Host{}.ReadFile(from)
		return f, err
	}
	f.Content, err = source.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		f.Missing, err = true, nil
	}
	return f, err
}

func parseAddress(args []string) (string, func(*Rules, Source) error, error) {
	if len(args) < 1 || len(args) > 2 {
		return "", nil, errForm
	}
	a := Address{Seen: args[0], Real: args[0]}
	if len(args) == 2 {
		var ok bool
		if a.Real, ok = strings.CutPrefix(args[1], "is="); !ok {
			return "", nil, errForm
		}
	}
	seen, real, err := a.parse()
	if err != nil {
		return "", nil, err
	}
	a.Seen, a.Real = seen.String(), real.String()
	return "address " + a.Seen, func(r *Rules, _ Source) error {
		r.putAddress(a)
		return nil
	}, nil
}

const macSize = 6

func parseMAC(args []string) (string, func(*Rules, Source) error, error) {
	if len(args) < 1 {
		return "", nil, errForm
	}
	value, err := optional(args[1:])
	if err != nil {
		return "", nil, err
	}
	i := Interface{Name: args[0], Address: value}
	if len(i.Name) > maxInterface {
		return "", nil, fmt.Errorf("%s: the name of an interface has at most %d characters", i.Name, maxInterface)
	}
	if mac, err := net.ParseMAC(value); value != "" && (err != nil || len(mac) != macSize) {
		return "", nil, fmt.Errorf("%q is no hardware address such as 02:00:5e:00:53:01", value)
	}
	return "mac " + i.Name, func(r *Rules, from Source) (err error) {
		for _, old := range r.Hardware {
			if value == "" && old.Name == i.Name {
				return nil
			}
		}
		put := i
		if value == "" {
			put.Address, err = from.HardwareAddr(i.Name)
		}
		if err == nil {
			r.putInterface(put)
		}
		return err
	}, nil
}
