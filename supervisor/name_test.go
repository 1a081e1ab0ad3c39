package supervisor

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "counter", "counter-2", "a.b", "x y", "ü", "4you", strings.Repeat("n", maxName)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".a", "-a", "a/b", "/", "123", "a\nb", "a\x00", strings.Repeat("n", maxName+1)} {
		var e *NameError
		if err := CheckName(bad); !errors.As(err, &e) || e.Name != bad {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNameFor(t *testing.T) {
	for text, want := range map[string]string{
		"/usr/bin/python3": "python3",
		"./prog":           "prog",
		"-bash":            "bash",
		"..":               "job-",
		"123":              "job-123",
		"/":                "_",
		"a\tb":             "a_b",
	} {
		got := nameFor(text)
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if err := CheckName(got); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ command, path, want string }{
		{"", "/bin", ""},
		{"a/b", "/bin", "a/b"},
		{"/a", "/bin", "/a"},
		{"ls", "/x:/y/", "/x/ls /y/ls"},
		{"ls", ":/x:.", "./ls /x/ls ./ls"},
		{"ls", "", "/bin/ls /usr/bin/ls"},
	} {
		if got := strings.Join(candidates(c.command, c.path), " "); got != c.want {
			t.Errorf("%q in %q: %q, want %q", c.command, c.path, got, c.want)
		}
	}
}

func TestDirOf(t *testing.T) {
	for _, c := range []struct{ image, want string }{
		{"/jobs/counter/0001", "/jobs"},
		{"/jobs/counter-2/0001", "/jobs"},
		{"/jobs/other/0001", "else"},
		{"/backup/today", "else"},
		{"/", "else"},
	} {
		if got := dirOf(c.image, "counter", "else"); got != c.want {
			t.Errorf("%s: %s, want %s", c.image, got, c.want)
		}
	}
}
