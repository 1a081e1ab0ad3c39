package translate

import (
	"net/netip"
	"testing"
)

var values = Values{
	Paths: map[string]string{"/srv/old": "/data", "/srv/old/special": "/else/where", "/file": "/other"},
	Addresses: map[string]string{"10.0.0.1": "10.9.9.9", "10.0.0.1:80": "127.0.0.1:8080", "[::1]:5": "[fe80::1]:6",
		"fe80::2": "fe80::3", "@old": "@new"},
}

func TestPath(t *testing.T) {
	if err := values.Check(); err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]string{
		"/srv/old": "/data", "/srv/old/a/b": "/data/a/b", "/srv/older": "/srv/older", "/srv": "/srv", "/": "/",
		"/srv/old/special/x": "/else/where/x", "/file": "/other", "/file/x": "/other/x", "srv/old": "srv/old", "": "",
		"/srv/old/gone (deleted)": "/data/gone (deleted)", "pipe:[1]": "pipe:[1]",
	} {
		if got := values.Path(old); got != want {
			t.Errorf("%q: %q, want %q", old, got, want)
		}
	}
	all := Values{Paths: map[string]string{"/": "/new"}}
	if got := all.Path("/a/b"); got != "/new/a/b" {
		t.Errorf("all: %q", got)
	}
	if got := (*Values)(nil).Path("/a"); got != "/a" {
		t.Errorf("nil: %q", got)
	}
}

func TestEnds(t *testing.T) {
	for old, want := range map[string]string{
		"10.0.0.1:80": "127.0.0.1:8080", "10.0.0.1:81": "10.9.9.9:81", "10.0.0.2:80": "10.0.0.2:80",
		"[::ffff:10.0.0.1]:80": "[::ffff:127.0.0.1]:8080", "[::ffff:10.0.0.1]:1": "[::ffff:10.9.9.9]:1",
		"[::1]:5": "[fe80::1]:6", "[::1]:6": "[::1]:6", "[fe80::2%eth0]:7": "[fe80::3%eth0]:7",
	} {
		if got := values.End(netip.MustParseAddrPort(old)).String(); got != want {
			t.Errorf("%s: %s, want %s", old, got, want)
		}
	}
	for old, want := range map[string]string{"\x00old": "\x00new", "\x00other": "\x00other", "/srv/old/s": "/data/s", "s": "s", "": ""} {
		if got := string(values.Name([]byte(old))); got != want {
			t.Errorf("%q: %q, want %q", old, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, v := range []Values{
		{Paths: map[string]string{"a": "/b"}}, {Paths: map[string]string{"/a": "b"}}, {Paths: map[string]string{"/a/": "/b"}},
		{Paths: map[string]string{"/a/../c": "/b"}}, {Paths: map[string]string{"/a": "/b\x00"}},
		{Addresses: map[string]string{"10.0.0.1": "::1"}}, {Addresses: map[string]string{"10.0.0.1:1": "10.0.0.1"}},
		{Addresses: map[string]string{"@a": "10.0.0.1"}}, {Addresses: map[string]string{"@": "@a"}}, {Addresses: map[string]string{"fe80::1%lo": "fe80::1"}},
		{Addresses: map[string]string{"example.org": "10.0.0.1"}}, {Addresses: map[string]string{"::ffff:1.2.3.4": "::1"}},
	} {
		if v.Check() == nil {
			t.Errorf("%+v passes", v)
		}
	}
}
