package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJobsDir(t *testing.T) {
	t.Setenv(DirVariable, "/from/environment")
	if got, err := JobsDir(""); err != nil || got != "/from/environment" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := JobsDir("/from/flag"); err != nil || got != "/from/flag" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := JobsDir("relative"); err != nil || !filepath.IsAbs(got) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestStateDirs(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_STATE_HOME", "/xdg")
	got := strings.Join(stateDirs(), " ")
	want := "/xdg/supervise " + home + "/.local/state/supervise"
	if os.Geteuid() == 0 {
		want = "/var/lib/supervise " + want
	}
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	t.Setenv("HOME", "/nonexistent")
	t.Setenv("XDG_STATE_HOME", "relative")
	if got := stateDirs(); os.Geteuid() != 0 && len(got) != 0 {
		t.Errorf("%v for a user without a home", got)
	}
}

func TestCheckPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "supervise-0")
	if err := checkPrivate(dir); err != nil {
		t.Errorf("missing: %v", err)
	}
	if err := os.Symlink("/", dir); err != nil {
		t.Fatal(err)
	}
	if checkPrivate(dir) == nil {
		t.Error("a symbolic link is taken")
	}
	os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(dir); err != nil {
		t.Error(err)
	}
	os.Chmod(dir, 0o755)
	if checkPrivate(dir) == nil {
		t.Error("a directory that others may read is taken")
	}
}
