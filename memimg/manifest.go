package memimg

import (
	"strconv"
	"time"
)

// Format is the version of the image format that this package writes, and the
// newest that it reads.
const Format = 1

// A Manifest says what an image is and seals its other files. Its JSON form is
// the file manifest.json; see the package comment.
//
// The caller of Commit gives Program, Created, Host, Summary, Phases, Layers
// and Control, which may be nil. Commit sets the rest.
type Manifest struct {
	Format  int       `json:"format"`
	Program string    `json:"program"` // version of the program that wrote it
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Host    Host      `json:"host"`
	Summary Summary   `json:"summary"`
	Phases  []Phase   `json:"phases"`
	Layers  []Layer   `json:"layers"`
	Control *Control  `json:"control,omitempty"`
	Parts   Parts     `json:"parts"`
	Sum     string    `json:"sum"` // last in the file: see sealManifest
}

// Control is what clients of the control socket have to do with the image.
type Control struct {
	Generation  int               `json:"generation"`            // how often the tree had been restarted
	Socket      string            `json:"socket,omitempty"`      // path that programs of the tree know
	Annotations map[string]string `json:"annotations,omitempty"` // strings of the user's
	Plugins     []Plugin          `json:"plugins,omitempty"`     // that take part in a restart, too
}

// Plugin names a plugin: the file of its manifest, a shell command for an
// event, or what one that is built in is to do.
type Plugin struct {
	File    string `json:"file,omitempty"`
	Event   string `json:"event,omitempty"`
	Command string `json:"command,omitempty"`

	SignalBefore string `json:"signal_before,omitempty"`
	SignalAfter  string `json:"signal_after,omitempty"`
	Exclude      string `json:"exclude,omitempty"`
}

// Host is what was special about the machine that an image was made on.
type Host struct {
	Name      string `json:"name"`
	Kernel    string `json:"kernel"` // release, as of uname(2)
	Arch      string `json:"arch"`   // as Go spells it
	XFeatures Mask   `json:"xfeatures"`
}

// Summary is what a list of snapshots shows.
type Summary struct {
	Job       string   `json:"job"`
	RootPID   int      `json:"root_pid"`
	Command   []string `json:"command"`
	Processes int      `json:"processes"`
	Threads   int      `json:"threads"`
	PageBytes int64    `json:"page_bytes"`       // of all extents, in all layers; set by Commit
	Policy    string   `json:"policy,omitempty"` // file that snapshots of the job go by

	Interval time.Duration `json:"interval_ns,omitempty"` // of the snapshots that its supervisor takes by itself; 0: none
	Keep     int           `json:"keep,omitempty"`        // how many of them; 0: all
}

// A Phase is one stretch of the time line of the snapshot.
type Phase struct {
	Name     string        `json:"name"`
	Start    time.Duration `json:"start_ns"` // from the begin of the snapshot
	Duration time.Duration `json:"duration_ns"`
}

// A Layer is an earlier image whose pages this one points into.
type Layer struct {
	Dir string `json:"dir"` // relative to the directory of the image
	ID  string `json:"id"`
}

// Parts are the sizes and checksums of the other files.
type Parts struct {
	Records Part `json:"records"`
	Index   Part `json:"index"`
	Pages   Part `json:"pages"` // without SHA256: the index has its checksums
}

// A Part is the size of a file and its SHA-256 in hexadecimal.
type Part struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// A Mask is a set of bits, written as "0x2e7" in JSON.
type Mask uint64

// MarshalText writes m in hexadecimal.
func (m Mask) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte("0x"), uint64(m), 16), nil
}

// UnmarshalText reads what MarshalText writes.
func (m *Mask) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	*m = Mask(v)
	return err
}
