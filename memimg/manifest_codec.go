package memimg

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
)

// The last line but one of every manifest, whatever its format, is its seal: the
// SHA-256 of all bytes before it. So that a newer format and a flipped bit can
// be told apart, this never changes.
const (
	sealHead = `  "sum": "`
	sealTail = "\"\n}\n"
	sealSize = len(sealHead) + 2*sha256.Size + len(sealTail)
)

const maxManifest = 16 << 20

// encodeManifest gives m its ID and Sum and returns the file for it.
func encodeManifest(m *Manifest) ([]byte, error) {
	clean, err := cleanManifest(*m)
	if err != nil {
		return nil, err
	}
	if clean.ID, err = manifestID(clean); err != nil {
		return nil, err
	}
	body, err := manifestBody(clean)
	if err != nil {
		return nil, err
	}
	b := sealManifest(body)
	clean.Sum = sealOf(b)
	if field, msg := clean.check(); msg != "" {
		return nil, fmt.Errorf("manifest: %s: %s", field, msg)
	}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("manifest: %d bytes, more than %d", len(b), maxManifest)
	}
	*m = clean
	return b, nil
}

// cleanManifest makes of m what a reader of its JSON gets: bytes that are not
// UTF-8 (arguments of a program may be anything) replaced, no monotonic clock.
func cleanManifest(m Manifest) (clean Manifest, err error) {
	m.Created = m.Created.UTC()
	b, err := json.Marshal(m)
	if err != nil {
		return clean, err
	}
	err = json.Unmarshal(b, &clean)
	clean.fillEmpty()
	return clean, err
}

// fillEmpty makes every slice of m one that JSON writes as [], not null.
func (m *Manifest) fillEmpty() {
	if m.Phases == nil {
		m.Phases = []Phase{}
	}
	if m.Layers == nil {
		m.Layers = []Layer{}
	}
	if m.Summary.Command == nil {
		m.Summary.Command = []string{}
	}
}

// manifestID is the identity of the image: half of the SHA-256 of its manifest
// without ID and seal.
func manifestID(m Manifest) (string, error) {
	m.ID = ""
	body, err := manifestBody(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16]), nil
}

// manifestBody is the file of m up to the seal.
func manifestBody(m Manifest) ([]byte, error) {
	m.Sum = ""
	m.fillEmpty()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte(sealHead+sealTail)), nil
}

// sealManifest appends the seal to the body.
func sealManifest(body []byte) []byte {
	sum := sha256.Sum256(body)
	b := append(body[:len(body):len(body)], sealHead...)
	b = hex.AppendEncode(b, sum[:])
	return append(b, sealTail...)
}

// sealOf is the hexadecimal sum in the seal of a sealed manifest.
func sealOf(b []byte) string {
	return string(b[len(b)-sealSize+len(sealHead) : len(b)-len(sealTail)])
}

// decodeManifest reads the file b, strictly: nothing but the bytes that
// encodeManifest writes gets through. name is the file's, for errors.
func decodeManifest(b []byte, name string) (Manifest, error) {
	if err := checkSeal(b, name); err != nil {
		return Manifest{}, err
	}
	// Sealed, so the version is as it was written, and only now it may speak.
	var version struct{ Format int }
	if err := json.Unmarshal(b, &version); err != nil {
		return Manifest{}, jsonError(name, err)
	}
	if version.Format > Format {
		return Manifest{}, &VersionError{File: name, Version: version.Format, Supported: Format}
	}
	m, err := parseManifest(b, name)
	if err != nil {
		return Manifest{}, err
	}
	id, err := manifestID(m)
	if err != nil {
		return Manifest{}, err
	}
	if id != m.ID {
		return Manifest{}, &FormatError{File: name, Offset: -1, Field: "id",
			Msg: fmt.Sprintf("%q is not the id of this manifest, which is %q", m.ID, id)}
	}
	return m, nil
}

// checkSeal compares the seal at the end of b with its bytes.
func checkSeal(b []byte, name string) error {
	start := len(b) - sealSize
	if start < 0 || !bytes.HasPrefix(b[start:], []byte(sealHead)) || !bytes.HasSuffix(b, []byte(sealTail)) {
		return &FormatError{File: name, Offset: int64(max(start, 0)), Field: "sum",
			Msg: "does not end with a checksum"}
	}
	if sum := sha256.Sum256(b[:start]); sealOf(b) != hex.EncodeToString(sum[:]) {
		return &FormatError{File: name, Offset: -1, Field: "sum", Msg: "checksum mismatch"}
	}
	return nil
}

// parseManifest reads the JSON of a manifest whose seal and version are right.
func parseManifest(b []byte, name string) (Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, jsonError(name, err)
	}
	body, err := manifestBody(m)
	if err != nil {
		return m, &FormatError{File: name, Offset: -1, Msg: "cannot be written again", Err: err}
	}
	if again := sealManifest(body); !bytes.Equal(again, b) {
		return m, &FormatError{File: name, Offset: firstDifference(again, b), Msg: "not in the form that is written"}
	}
	if field, msg := m.check(); msg != "" {
		return m, &FormatError{File: name, Offset: -1, Field: field, Msg: msg}
	}
	return m, nil
}

// jsonError names the place where JSON is wrong.
func jsonError(name string, err error) error {
	e := &FormatError{File: name, Offset: -1, Msg: "malformed", Err: err}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		e.Offset = syntax.Offset
	case errors.As(err, &kind):
		e.Offset, e.Field = kind.Offset, kind.Field
	case err == io.EOF:
		e.Err = io.ErrUnexpectedEOF
	}
	return e
}

// firstDifference is the offset of the first byte in which a and b differ.
func firstDifference(a, b []byte) int64 {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(n)
}

var (
	isID     = regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString
	isSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString
)

// check says which field of m has a value that no writer gives it.
func (m *Manifest) check() (field, msg string) {
	if m.Format != Format {
		return "format", fmt.Sprintf("%d was never a format", m.Format)
	}
	for i, l := range m.Layers {
		field = fmt.Sprintf("layers[%d]", i)
		if l.Dir == "" || filepath.IsAbs(l.Dir) || filepath.Clean(l.Dir) != l.Dir {
			return field, fmt.Sprintf("%q is not a plain relative path", l.Dir)
		}
		if !isID(l.ID) {
			return field, fmt.Sprintf("%q is not an id", l.ID)
		}
	}
	return m.Parts.check()
}

// check is the part of Manifest.check that looks at sizes and sums.
func (p *Parts) check() (field, msg string) {
	switch {
	case p.Records.Size < 0 || p.Records.Size > maxRecords:
		return "parts.records", "size out of range"
	case p.Index.Size < indexHeader || p.Index.Size > indexSize(maxExtents):
		return "parts.index", "size out of range"
	case p.Pages.Size < 0 || p.Pages.Size%PageSize != 0:
		return "parts.pages", "size is not that of whole pages"
	case !isSHA256(p.Records.SHA256):
		return "parts.records", "no checksum"
	case !isSHA256(p.Index.SHA256):
		return "parts.index", "no checksum"
	case p.Pages.SHA256 != "":
		return "parts.pages", "has a checksum, which is the index's to have"
	}
	return "", ""
}
