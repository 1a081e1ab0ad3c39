package memimg

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sealed is what a writer of other manifests would make of the text: the text
// with a right seal.
func sealed(text string) []byte {
	return sealManifest([]byte(strings.TrimSuffix(text, sealHead+sealTail)))
}

// manifestText is a good manifest with an empty seal.
func manifestText(t testing.TB) string {
	t.Helper()
	m := testManifest()
	m.Format = Format
	m.Layers = []Layer{{"../0001", strings.Repeat("0", 32)}}
	m.Parts = Parts{
		Records: Part{1, strings.Repeat("1", 64)},
		Index:   Part{indexHeader, strings.Repeat("2", 64)},
		Pages:   Part{Size: PageSize},
	}
	b, err := encodeManifest(&m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:len(b)-sealSize]) + sealHead + sealTail
}

func TestManifestRoundTrip(t *testing.T) {
	b := sealed(manifestText(t))
	m, err := decodeManifest(b, "m")
	if err != nil {
		t.Fatal(err)
	}
	again, err := encodeManifest(&m)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("got %s, %v", again, err)
	}
	if want := testManifest(); !reflect.DeepEqual(m.Summary, want.Summary) || m.Host != want.Host ||
		!m.Created.Equal(want.Created) || !reflect.DeepEqual(m.Phases, want.Phases) {
		t.Errorf("got %+v", m)
	}
}

// TestManifestStrict seals manifests that no Writer writes.
func TestManifestStrict(t *testing.T) {
	text := manifestText(t)
	for _, c := range []struct{ old, new, want string }{
		{`"format": 1,`, `"format": 0,`, "was never a format"},
		{`"format": 1,`, `"format": -7,`, "was never a format"},
		{`"format": 1,`, `"format": "1",`, "malformed"},
		{`"format": 1,`, `"format": 1, "more": 1,`, "unknown field"},
		{`"format": 1,`, `"Format": 1,`, "not in the form"},
		{`"format": 1,`, `"format": 1,  `, "not in the form"},
		{`"format": 1,`, `"format": 1, "format": 1,`, "not in the form"},
		{`"job": "job",`, ``, "not in the form"},
		{`"job"`, `"j\u006fb"`, "not in the form"},
		{`"job",`, "\"jo\xffb\",", "not in the form"},
		{`"0x2e7"`, `"0x02e7"`, "not in the form"},
		{`"0x2e7"`, `"743"`, "not in the form"},
		{`"0x2e7"`, `743`, "malformed"},
		{`.000000789Z`, `.0000007890Z`, "not in the form"},
		{`.000000789Z`, `.000000789+00:00`, "not in the form"},
		{`"../0001"`, `"/0001"`, "not a plain relative path"},
		{`"../0001"`, `"../x/../0001"`, "not a plain relative path"},
		{`"../0001"`, `""`, "not a plain relative path"},
		{strings.Repeat("0", 32), "", "not an id"},
		{strings.Repeat("1", 64), strings.Repeat("A", 64), "no checksum"},
		{`"size": 4096`, `"size": 4095`, "whole pages"},
		{`"size": 4096`, `"size": -4096`, "whole pages"},
		{`"size": 4096`, `"size": 1e3`, "malformed"},
		{`"size": 4096`, `"size": 99999999999999999999`, "malformed"},
		{`"size": 24`, `"size": 23`, "out of range"},
		{`"size": 1,`, `"size": 1073741825,`, "out of range"},
		{`"job": "job"`, `"job": "another"`, "id of this manifest"},
		{`}` + "\n", `}` + "\n{}", "does not end with a checksum"},
	} {
		changed := strings.Replace(text, c.old, c.new, 1)
		if changed == text {
			t.Fatalf("no %s in %s", c.old, text)
		}
		b := sealed(changed)
		if c.old == "}\n" {
			b = append(sealed(text), c.new...)
		}
		_, err := decodeManifest(b, "manifest.json")
		if !isDamage(err, "manifest.json") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: got %v", c.new, c.old, err)
		}
	}
}

// TestNewerFormat reads a manifest from the future, which has the seal but
// may otherwise be what it likes.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	b := sealed("{\n  \"format\": 2,\n  \"future\": [1, 2, 3],\n" + sealHead + sealTail)
	if err := os.WriteFile(filepath.Join(dir, manifestName), b, filePerm); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	var version *VersionError
	if !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrDamaged) || !errors.As(err, &version) ||
		version.Version != 2 || version.Supported != Format {
		t.Errorf("got %v", err)
	}
	want := filepath.Join(dir, manifestName) + ": image format 2 is newer than this program, which reads up to format 1"
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %v", err, want)
	}
}

// TestManifestCleaned commits what JSON cannot hold.
func TestManifestCleaned(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir)
	got, err := w.Commit(Manifest{
		Created: time.Now().In(time.FixedZone("far", 3600*5)),
		Summary: Summary{Job: "\xff\u2028<&>\x00", Command: []string{"\xed\xa0\x80", ""}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadManifest(dir)
	if err != nil || !reflect.DeepEqual(got, read) {
		t.Errorf("committed %+v, read %+v, %v", got, read, err)
	}
	if read.Summary.Job != "\ufffd\u2028<&>\x00" || len(read.ID) != 32 {
		t.Errorf("got %+v", read)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(manifestText(f))
	f.Add("{\n" + sealHead + sealTail)
	f.Add(strings.Replace(manifestText(f), "null", "[]", -1))
	f.Fuzz(func(t *testing.T, text string) {
		b := sealed(text) // or nothing would get past the seal
		if m, err := decodeManifest(b, "manifest.json"); err == nil {
			if again, err := encodeManifest(&m); err != nil || !bytes.Equal(again, b) {
				t.Errorf("decoded, but encoded again it is %q, %v", again, err)
			}
		}
		m, err := parseManifest(b, "manifest.json") // its id is not to be guessed
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
			return
		}
		body, err := manifestBody(m)
		if again := sealManifest(body); err != nil || !bytes.Equal(again, b) {
			t.Errorf("parsed, but written again it is %q, %v", again, err)
		}
	})
}
