package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scriptsDir has what people install beside the binary.
const scriptsDir = "../scripts"

// crontab is the example for crontab(5), made to run every minute in a place.
func (p *place) crontab(job string) string {
	text := slurp(scriptsDir, "crontab.example")
	for from, to := range map[string]string{
		"*/10 * * * *": "* * * * *",
		" sim ":        " " + job + " ",
		"PATH=":        "SUPERVISE_DIR=" + p.path("jobs") + "\nPATH=" + baseDir + ":",
	} {
		if !strings.Contains(text, from) {
			p.t.Fatalf("the example has no %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// privateCron gives this goroutine, and what it starts, mounts of its own, and
// puts what cron(8) looks at in the places of the real ones: no job of this host
// is run, and no mail sent. It gives the path of cron.
func privateCron(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile("/usr/sbin/cron")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "cron"), b, 0o755))
	runtime.LockOSThread() // for good: the thread ends with the test
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for from, to := range map[string]string{
		"crontabs": "/var/spool/cron/crontabs", "empty": "/etc/cron.d", "sbin": "/usr/sbin", "run": "/run",
	} {
		must(t, os.MkdirAll(filepath.Join(dir, from), 0o755))
		must(t, unix.Mount(filepath.Join(dir, from), to, "", unix.MS_BIND, ""))
	}
	must(t, unix.Mount("/dev/null", "/etc/crontab", "", unix.MS_BIND, ""))
	return filepath.Join(dir, "cron")
}

// fakeMailer keeps the mail that cron sends.
const fakeMailer = "#!/bin/sh\ncat >%s/mail/$$\n"

// TestCron lets Debian's cron take snapshots, with the crontab in scripts: of a
// job that runs, which is silent, and of one that does not, which is mailed.
func TestCron(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start cron")
	}
	t.Parallel()
	for _, u := range users() {
		name := map[string]string{"root": "root", "user": "nobody"}[u.name]
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			must(t, os.MkdirAll(p.path("cron/mail"), 0o755))
			must(t, os.Chmod(p.path("cron/mail"), 0o777))
			program := privateCron(t, p.path("cron"))
			j := p.start(one("pipes").supervised())
			before := j.settle()
			must(t, os.WriteFile(p.path("cron/sbin/sendmail"), []byte(strings.ReplaceAll(fakeMailer, "%s", p.path("cron"))), 0o755))
			table := p.path("cron/crontabs/" + name)
			must(t, os.WriteFile(table, []byte(p.crontab("job")+strings.ReplaceAll(p.crontab("gone"), "MAILTO=root\n", "")), 0o600))
			must(t, os.Chown(table, u.uid, -1))

			cron := exec.Command(program, "-f")
			cron.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			var said output
			cron.Stdout, cron.Stderr = &said, &said
			must(t, cron.Start())
			t.Cleanup(func() { cron.Process.Kill(); cron.Wait() })

			mails := func() (all string) {
				entries, _ := os.ReadDir(p.path("cron/mail"))
				for _, e := range entries {
					all += slurp(p.path("cron/mail"), e.Name())
				}
				return all
			}
			wait(t, "snapshot and mail by cron", 150*time.Second, func() string {
				_, err := os.Stat(p.path("jobs/job/0001/manifest.json"))
				if mail := mails(); err != nil || !strings.Contains(mail, "no good snapshot") {
					return "mail: " + mail + "; cron: " + said.String()
				}
				return ""
			})
			mail := mails()
			if !strings.Contains(mail, `"gone" in `+p.path("jobs")+": no such job") || strings.Contains(mail, "snapshot job") {
				t.Errorf("mail:\n%s", mail)
			}
			j.undisturbed(before)
			j.finish(1)
		})
	}
}

// TestUnits wants systemd to find nothing wrong with the service and the timer.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"supervise-snapshot@.service", "supervise-snapshot@.timer"} {
		text := slurp(scriptsDir, name)
		if strings.HasSuffix(name, ".service") && !strings.Contains(text, "\nExecStart=supervise ") {
			t.Fatalf("%s runs something else:\n%s", name, text)
		}
		text = strings.Replace(text, "ExecStart=supervise", "ExecStart="+supervise, 1)
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no",
		filepath.Join(dir, "supervise-snapshot@job.timer"), filepath.Join(dir, "supervise-snapshot@job.service")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
