package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runs runs a program that is no part of supervise, and gives its output.
func runs(t testing.TB, u user, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), env...), u.attr()
	if u.uid != os.Getuid() {
		cmd.Env, cmd.Dir = env, baseDir
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// below lists the files below a directory.
func below(t testing.TB, dir string) (files []string) {
	must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(name, dir))
		}
		return err
	}))
	return files
}

// installed are files that make install and the package have, below a prefix.
var installed = []string{
	"/bin/supervise", "/share/man/man1/supervise.1.gz", "/share/man/man1/supervise-restart.1.gz",
	"/share/bash-completion/completions/supervise", "/share/fish/vendor_completions.d/supervise.fish",
	"/lib/systemd/system/supervise-snapshot@.service", "/lib/systemd/user/supervise-snapshot@.timer",
	"/share/doc/supervise/examples/crontab", "/share/doc/supervise/policy.md", "/share/doc/supervise/plugins.md", "/include/supervise.h",
}

// worksBelow uses what was installed below a prefix.
func worksBelow(t *testing.T, prefix string) {
	for _, name := range installed {
		if _, err := os.Stat(prefix + name); err != nil {
			t.Error(err)
		}
	}
	runs(t, root, nil, "bash", "-c", "source "+prefix+"/share/bash-completion/completions/supervise && complete -p supervise")
	if out := runs(t, root, nil, "bash", "-c", "zcat "+prefix+"/share/man/man1/*.gz | groff -man -ww -z"); out != "" {
		t.Error(out)
	}
	python := prefix + "/share/supervise/python"
	if strings.HasSuffix(prefix, "/usr") {
		python = prefix + "/lib/python3/dist-packages"
	}
	if out := runs(t, root, []string{"PYTHONPATH=" + python, "PYTHONDONTWRITEBYTECODE=1"}, "/usr/bin/python3", "-c", "import supervise; print(supervise.__file__)"); !strings.HasPrefix(out, python) {
		t.Errorf("the package for Python is %s", out)
	}
	for _, u := range users() {
		p := newPlace(t, u)
		if out := runs(t, u, p.env(), prefix+"/bin/supervise", "demo"); out == "" {
			t.Errorf("demo as %s says nothing", u.name)
		}
	}
}

// TestInstall installs into an empty directory and uses what is there.
func TestInstall(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("files are to belong to root")
	}
	dir := newPlace(t, root).path("dest")
	runs(t, root, nil, "../scripts/install.sh", supervise, "/opt/it", dir)
	worksBelow(t, dir+"/opt/it")
	for _, name := range below(t, dir) {
		if !strings.HasPrefix(name, "/opt/it/") {
			t.Errorf("%s is not below the prefix", name)
		}
	}
	if _, err := os.Stat(dir + "/opt/it/share/zsh/site-functions/_supervise"); err != nil {
		t.Error(err)
	}
}

// TestDebianPackage builds the package twice, installs it below a root
// directory of its own, uses it, and removes it.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg-deb"); err != nil || os.Getuid() != 0 {
		t.Skip("takes dpkg and root")
	}
	p := newPlace(t, root)
	deb := runs(t, root, nil, "../scripts/deb.sh", p.path("a"))
	again := runs(t, root, nil, "../scripts/deb.sh", p.path("b"))
	one, err := os.ReadFile(deb)
	must(t, err)
	two, err := os.ReadFile(again)
	must(t, err)
	if !bytes.Equal(one, two) {
		t.Error("the same sources give two packages")
	}
	for field, want := range map[string]string{"Package": "supervise", "Conflicts": "daemontools", "Section": "admin"} {
		if got := runs(t, root, nil, "dpkg-deb", "-f", deb, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if strings.Contains(slurp("/proc/filesystems"), "overlay") { // into the system itself, as far as that can be taken back
		must(t, os.Mkdir(p.path("changed"), 0o755))
		runs(t, root, p.env(), "unshare", "-m", "/bin/bash", dataDir+"/sh/system.sh", deb, p.path("changed"))
	} else {
		t.Log("not installed into the system: this kernel has no overlay file system")
	}
	if lintian, err := exec.LookPath("lintian"); err == nil { // a matter of taste: not needed
		if out := runs(t, root, nil, lintian, "--allow-root", "--fail-on", "error,warning", deb); out != "" {
			t.Log(out)
		}
	}
	dir := p.path("root")
	must(t, os.MkdirAll(dir+"/var/lib/dpkg/info", 0o755))
	must(t, os.MkdirAll(dir+"/var/lib/dpkg/updates", 0o755))
	for _, name := range []string{"status", "available"} {
		must(t, os.WriteFile(dir+"/var/lib/dpkg/"+name, nil, 0o644))
	}
	dpkg := []string{"dpkg", "--root=" + dir, "--log=" + p.path("dpkg.log")}
	runs(t, root, nil, append(dpkg, "-i", deb)...)
	worksBelow(t, dir+"/usr")
	if out := runs(t, root, nil, append(dpkg, "--verify", "supervise")...); out != "" {
		t.Errorf("not as in the package: %s", out)
	}
	runs(t, root, nil, append(dpkg, "--purge", "supervise")...)
	if _, err := os.Stat(dir + "/usr"); err == nil {
		t.Errorf("left behind: %v", below(t, dir+"/usr"))
	}
}

// TestPip installs the Python package from its folder, without a network.
func TestPip(t *testing.T) {
	forUsers(t, func(p *place) {
		to := p.path("work/site")
		env := p.env("PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_CACHE_DIR=1", "PIP_NO_INDEX=1")
		runs(t, p.user, env, "/usr/bin/python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target", to, filepath.Join(baseDir, "python"))
		if out := runs(t, p.user, append(env, "PYTHONPATH="+to), "/usr/bin/python3", "-c", "import supervise, supervise.dmtcp; print(supervise.__file__, supervise.enabled())"); out != to+"/supervise/__init__.py False" {
			t.Errorf("it says %s", out)
		}
	})
}
