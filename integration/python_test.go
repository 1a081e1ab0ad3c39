package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// python is a command that runs Debian's Python with the package of
// plugins/python.
func (p *place) python(args ...string) []string {
	return append([]string{"/usr/bin/env", "PYTHONPATH=" + filepath.Join(baseDir, "python"), "IPYTHONDIR=" + p.path("work/ipython"), "HOME=" + p.path("work"),
		"PROMPT_TOOLKIT_NO_CPR=1", "/usr/bin/python3"}, args...)
}

// ipython is a command that runs IPython.
func (p *place) ipython() []string {
	return p.python("-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor")
}

// cell types a cell, and waits for the prompt of the next. The cell's output
// must match.
func (term *terminal) cell(text string, next int, output ...string) {
	term.p.t.Helper()
	term.send(text + "\r")
	for _, pattern := range output {
		term.expect(pattern)
	}
	term.prompt(next)
}

// prompt waits for an input prompt of IPython's.
func (term *terminal) prompt(number int) {
	term.p.t.Helper()
	term.expect(`In \[[^\]]*` + strconv.Itoa(number) + `[^\]]*\]:`)
}

// line types a line of Python, and waits for the next prompt.
func (term *terminal) line(text string, output ...string) {
	term.p.t.Helper()
	term.send(text + "\r")
	term.expect(`\n`)
	for _, pattern := range output {
		term.expect(pattern)
	}
	term.expect(`>>> `)
}

// backOn kills a session, and restarts its job on another terminal.
func (j *job) backOn(term *terminal) *job {
	j.t.Helper()
	j.killTree()
	j.close()
	return j.p.restartOn(term, j.prog, "job")
}

// setUpSession makes variables of all kinds in a session.
const setUpSession = "import os, threading, time, numpy as np; pid = os.getpid(); a = np.arange(100000); f = open('/etc/passwd'); " +
	"line = f.readline(); w = open('notes', 'w'); t = threading.Thread(target=time.sleep, args=(1000,), daemon=True); t.start()"

// checkSession prints what must be as it was.
const checkSession = "print('kept', a.sum(), f.tell() == len(line), pid == os.getpid(), t.is_alive(), w.write('note\\n'), w.flush())"

const sessionKept = `kept 4999950000 True True True 5 None\r\n`

// TestIPythonMagics drives an IPython session by its magics over three
// generations and three terminals.
func TestIPythonMagics(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, p.ipython()...)
		a.prompt(1)
		a.cell("%load_ext supervise", 2)
		a.cell(setUpSession, 3)
		a.cell("%checkpoint first", 4, `job@0001 \(first\) taken in \d+ ms`)
		a.cell("x = 'lost'", 5)
		j = j.backOn(b)
		b.expect(`back at job@0001 \(first\), generation 1`)
		b.expect(`\[1\] `)
		b.prompt(4)
		b.cell(checkSession, 5, sessionKept)
		b.cell("'x' in globals(), In[3]", 6, `Out\[.*\(False, .*checkpoint.*first`)
		b.cell("%checkpoint second", 7, `job@0002 \(second\) taken`)
		c := p.newTerminal(40, 120)
		j = j.backOn(c)
		c.expect(`back at job@0002 \(second\), generation 2`)
		c.prompt(7)
		c.cell(checkSession, 8, sessionKept)
		c.cell("x = 'lost again'", 9)
		c.cell("%restore first", 4, `back at job@0001 \(first\), generation 1`)
		c.cell(checkSession, 5, sessionKept)
		c.cell("%restore nothing", 6, `supervise: no snapshot has the name 'nothing'`)
		c.cell("%sessions", 7, `1 .*MiB  first\r\n`, `2 .*MiB  second\r\n`)
		c.cell("%autocheckpoint 2", 8)
		c.cell("y = 8", 9)
		c.cell("y = 9", 10)
		c.cell("%undo", 9, `back after In \[8\]`)
		c.cell("print('y is', y)", 10, `y is 8\r\n`)
		c.cell("len(get_ipython().history_manager.input_hist_parsed), open('notes').read()", 11, `\(11, 'note`)
		p.ok("checkpoint", "job") // from outside, while it waits for input
		d := p.newTerminal(24, 80)
		j = j.backOn(d)
		d.expect("\\[3\\] |m3\x1b") // it draws its prompt, or what has changed of it
		d.send("\x0c")
		d.expect(`\[3\] In \[11\]:`)
		d.cell("%unload_ext supervise", 12)
		d.cell("%sessions", 13, "not found")
		d.send("exit\r")
		j.endsWith(0)
		p.historyKept(a, b, c, d)
	})
}

// historyKept checks the database of IPython's history: whole, and with the
// cells of every generation.
func (p *place) historyKept(terms ...*terminal) {
	p.t.Helper()
	for _, term := range terms {
		if out := term.out.String(); strings.Contains(out, "ERROR") || strings.Contains(out, "Traceback") {
			p.t.Errorf("the session has complained: %q", out)
		}
	}
	out, err := exec.Command("/usr/bin/python3", "-c", `import sqlite3, sys, json
db = sqlite3.connect(sys.argv[1])
print(json.dumps([db.execute("pragma integrity_check").fetchall(), db.execute("select session, source from history order by 1, line").fetchall()]))`,
		p.path("work/ipython/profile_default/history.sqlite")).CombinedOutput()
	must(p.t, err)
	var found [2][][]any
	must(p.t, json.Unmarshal(out, &found))
	if fmt.Sprint(found[0]) != "[[ok]]" {
		p.t.Errorf("history.sqlite: %v", found[0])
	}
	sessions := map[any]bool{}
	for _, row := range found[1] {
		sessions[row[0]] = true
	}
	if !strings.Contains(fmt.Sprint(found[1]), "lost again") || len(sessions) < 4 {
		p.t.Errorf("history.sqlite has %v", found[1])
	}
}

// TestIPython moves a session that knows nothing of supervise, while it waits
// at its prompt with half a line typed: prompt_toolkit, asyncio, sqlite.
func TestIPython(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, p.ipython()...)
		a.prompt(1)
		a.cell(setUpSession, 2)
		a.send("print('half' + ")
		a.expect(`half.*\+`)
		j = j.moveTo(b, "image")
		b.prompt(2) // SIGWINCH: it draws its prompt again
		b.cell("'line')", 3, `halfline\r\n`)
		b.cell(checkSession, 4, sessionKept)
		b.send("\x1b[A\x1b[A") // history: the line before the last
		b.cell("", 5, `halfline\r\n`)
		c := p.newTerminal(50, 132)
		j = j.moveTo(c, "image2")
		c.prompt(5)
		c.cell("os.get_terminal_size()", 6, `columns=132, lines=50`)
		c.send("time.sleep(1000)\r")
		c.expect(`sleep\(1000\)`)
		c.expect(`\n`)
		time.Sleep(200 * time.Millisecond)
		c.send("\x03")
		c.expect(`KeyboardInterrupt`)
		c.prompt(7)
		d := p.newTerminal(24, 80)
		j = j.moveTo(d, "image3")
		d.prompt(7)
		d.cell(checkSession, 8, sessionKept)
		d.send("exit\r")
		j.endsWith(0)
	})
}

// TestPythonModule drives a plain interactive Python by the package, over three
// generations.
func TestPythonModule(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, p.python("-q")...)
		a.expect(`>>> `)
		a.line("import supervise; " + setUpSession)
		a.line("h = supervise.after_restart(lambda: print('hook', supervise.generation()))")
		a.line("o = supervise.checkpoint('first'); o.outcome", `'resumed'`)
		a.line("x = 'lost'")
		a.line("supervise.prompt()")
		a.line("supervise.generation()", `0`, `\[0\] `)
		j = j.backOn(b)
		b.expect(`hook 1`)
		b.expect(`'restarted'`)
		b.expect(`>>> `)
		b.line(checkSession, sessionKept)
		b.line("'x' in globals()", `False`)
		b.line("supervise.prompt()")
		b.line("o = supervise.checkpoint('second'); o.outcome, o.generation", `\('resumed', 1\)`, `\[1\] `)
		c := p.newTerminal(40, 120)
		j = j.backOn(c)
		c.expect(`hook 2`)
		c.expect(`\('restarted', 2\)`)
		c.expect(`\[2\] >>> `)
		c.line("with supervise.no_checkpoint(): supervise.checkpoint()\r", `SuperviseError: this thread holds snapshots back`)
		c.line("[s.name for s in supervise.sessions()], supervise.status().processes", `\(\['first', 'second'\], 1\)`)
		c.line("supervise.restore('first')", `hook 1`, `'restarted'`)
		c.line(checkSession, sessionKept)
		c.send("exit(4)\r")
		j.endsWith(4)
	})
}

// dmtcpScript was written for DMTCP, as far as the names are concerned. Each
// life takes a snapshot, and the third ends it by going back to the first.
const dmtcpScript = `import sys, time, dmtcp
def say(text):
    with open(sys.argv[2], "a") as f: f.write(text + "\n")
assert dmtcp.isEnabled and dmtcp.isEnabled() and dmtcp.numProcesses() == 1 and dmtcp.isRunning(), "not enabled"
say("ready")
lives = 0
for n in range(3):
    dmtcp.disableCkpt()
    lives += 1
    dmtcp.enableCkpt()
    dmtcp.checkpoint()
    assert dmtcp.isRestart() != dmtcp.isResume(), "neither, or both"
    say(f"{'restarted' if dmtcp.isRestart() else 'resumed'} {n} {dmtcp.numRestarts()} {dmtcp.numCheckpoints()}")
    if dmtcp.isResume():
        time.sleep(1000) # until it is killed
dmtcp.createSessionList()
dmtcp.listSessions()
assert dmtcp.checkpointFilename().endswith("0003") and dmtcp.uniquePidStr(), dmtcp.checkpointFilename()
dmtcp.removeSession(2)
assert dmtcp.numCheckpoints() == 2, dmtcp.numCheckpoints()
say("ok" if lives == 3 else f"FAIL {lives}")
`

// TestDMTCP runs a script that knows DMTCP's module, as it is, over three generations.
func TestDMTCP(t *testing.T) {
	forUsers(t, func(p *place) {
		file := filepath.Join(p.logs, "script.py")
		must(t, os.WriteFile(file, []byte(dmtcpScript), 0o644))
		prog := program{name: "dmtcp", run: true, argv: func() []string { return p.python("-m", "supervise.dmtcp", file) }}
		j := p.start(prog)
		for n := range 3 {
			j.says(fmt.Sprintf("resumed %d %d %d", n, n, n+1), 1)
			j.killTree()
			j.close()
			j = p.restart(prog, "job")
			j.says(fmt.Sprintf("restarted %d %d %d", n, n+1, n+1), 1)
		}
		j.says("ok", 1)
		j.ended()
	})
}
