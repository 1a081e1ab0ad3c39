package integration

import (
	"path/filepath"
	"slices"
	"sync"
)

// A program is one row of the table.
type program struct {
	name      string
	argv      func() []string // without the go and log files
	args      []string        // after the go and log files
	how       scope
	run       bool     // needs a supervisor: started by supervise run
	lead      bool     // the root leads a session of its own
	root      bool     // needs root
	supervise []string // flags of supervise run
	rules     string   // file in testdata for supervise run --virtualize
	solo      bool     // two at a time would get in each other's way

	skip map[string]string // mode: why not
}

func c(name string) func() []string {
	return func() []string { return []string{filepath.Join(binDir, name)} }
}
func script(interpreter, file string) func() []string {
	return func() []string { return []string{interpreter, filepath.Join(dataDir, file)} }
}

// javaFlags keep a Java machine small, and from leaving a file in /tmp.
var javaFlags = []string{"/usr/bin/java", "-XX:-UsePerfData", "-Xmx128m"}

// java compiles a class and runs it. Run from its source it would have a
// socket open, which the compiler leaves.
func java(class string) func() []string {
	compile := sync.OnceValue(func() error {
		return command(nil, "javac", "-d", binDir, filepath.Join(dataDir, "java", class+".java"))
	})
	return func() []string {
		if err := compile(); err != nil {
			return []string{"/bin/sh", "-c", "echo \"$0\" >&2; exit 1", err.Error()}
		}
		return append(slices.Clone(javaFlags), "-cp", binDir, class)
	}
}

// valgrind runs a program in C under Valgrind, without files that it leaves in /tmp.
func valgrind(name string) func() []string {
	return func() []string {
		return append([]string{"/usr/bin/valgrind", "-q", "--vgdb=no", "--error-exitcode=9"}, c(name)()...)
	}
}

// one is the program in C of that name.
func one(name string) program { return program{name: name, argv: c(name), lead: true} }

func (p program) rootOnly() program   { p.how = rootOnly; return p }
func (p program) inSession() program  { p.lead = false; return p }
func (p program) supervised() program { p.run = true; return p }
func (p program) under(flags ...string) program {
	p.run, p.supervise = true, flags
	return p
}
func (p program) virtualized(rules string) program {
	p.run, p.rules = true, rules
	return p
}
func (p program) alone() program { p.solo = true; return p }
func (p program) endsItself() program { // by a time-out: may be gone before it is looked at
	p.how = nothing
	return p.without("it may be gone meanwhile", "generations")
}
func (p program) asRoot() program          { p.root = true; return p }
func (p program) with(a ...string) program { p.args = a; return p }
func (p program) named(n string) program   { p.name = n; return p }
func (p program) without(why string, modes ...string) program {
	skip := map[string]string{}
	for m, w := range p.skip {
		skip[m] = w
	}
	for _, m := range modes {
		skip[m] = why
	}
	p.skip = skip
	return p
}

// programs is the table. Adding a fixture is adding a row.
var programs = func() []program {
	list := []program{
		one("fpu").rootOnly(),
		one("vectors").rootOnly(),
		one("pkeys"),
		one("tls"),
		one("threads").rootOnly(),
		one("sigstate"),
		one("onstack"),
		one("sigqueue"),
		one("robust"),
		one("pi"),
		one("cputimers").rootOnly(),
		one("rseq").rootOnly(),
		one("join"),
		one("timeouts").endsItself(),
		one("zombies"),
		one("stopped"),
		one("itimers").rootOnly(),
		one("ptimers").rootOnly(),
		one("anon"),
		one("shared"),
		one("shm").alone(),
		one("filemap").alone(),
		one("brk"),
		one("deepstack"),
		one("sparse"),
		one("vmas"),
		one("advice"),
		one("modes"),
		one("numa"),
		one("seals"),
		one("modes").named("modes_onfault").with("onfault"),
		one("clocks").rootOnly(),
		one("vdso").rootOnly(),
		one("vdso").named("vdso_handler").with("handler"),
		one("novdso"),
		one("novdso").named("novdso_all").with("all"),
		one("ids"),
		one("groups"),
		one("sharing"),
		one("handdown"),
		one("tables"),
		one("leader"),
		one("dirs"),
		one("dirs").named("chroot").with("chroot").asRoot(),
		one("mounts").named("mounts_overlay").with("overlay").asRoot().alone(),
		one("mounts").named("mounts_bind").with("bind").asRoot().alone(),
		one("daemon").supervised(),
		one("exclude").supervised().without("nobody listens after restart --detach", "stop"),
		one("control").supervised().without("nobody listens after restart --detach: TestControlDetached", "stop"),
		one("attributes"),
		one("controls"),
		one("files").inSession().alone(),
		one("unlinked"),
		one("names").alone(),
		one("unlinkedmap"),
		one("replaced"),
		one("pipes"),
		one("unixpairs"),
		one("peergroups").alone(),
		one("unixnames").alone(),
		one("unixmsgs"),
		one("unixempty").without("the second snapshot is refused: TestEmptyMessages", "continue"),
		one("unixtraffic").rootOnly(),
		one("unixtraffic").named("tcptraffic").with("tcp").rootOnly().alone(),
		one("udp").alone(),
		one("netlink").alone(),
		one("packet").asRoot().alone(),
		one("raw").asRoot().alone(),
		one("tun").asRoot().alone(),
		one("udp").named("udpempty").with("empty").alone().without("the second snapshot is refused", "continue"),
		one("tcplisten").alone(),
		one("tcplinks").alone(),
		one("tcpbacklog").alone(),
		one("tcpurgent").alone(),
		one("tcpmany").with("150", "1000").alone(),
		one("fifos").alone(),
		one("epoll"),
		one("anonfds"),
		one("devices"),
		one("manyfds"),
		one("places").alone(),
		one("pidfds"),
		one("inotify").alone(),
		one("fanotify").alone(),
		one("fanotify").named("fanotify_mount").with("mount").asRoot().alone(),
		one("unread").named("unread_never").with("never").alone(),
		one("unread").named("unread_soon").with("soon").rootOnly().alone(),
		one("locks").alone(),
		one("sharedlocks").alone(),
		one("owners").alone(),
		one("ptys"),
		one("ptyqueues"),
		one("objects").named("pidfd").with("pidfd"),
		one("aio"),
		one("aio").named("aio_soon").with("soon"),
		one("aio").named("aio_traffic").with("traffic").rootOnly(),
		one("creds").asRoot(),
		one("seccomp").asRoot(),
		one("sysvshm"),
		one("sysvsem"),
		one("sysvmsg"),
		one("nouring").under("--no-io-uring"),
		one("virtual").virtualized("virtual.rules").rootOnly(),
		one("answered").virtualized("answered.rules"),
		program{name: "hostname", argv: script("/usr/bin/python3", "py/hostname.py"), lead: true}.virtualized("virtual.rules"),
		one("mqueues"),
		{name: "goruntime", argv: c("goruntime"), how: rootOnly},
		{name: "python", argv: script("/usr/bin/python3", "py/threads.py"), how: rootOnly},
		{name: "pyterminal", argv: script("/usr/bin/python3", "py/terminal.py")},
		{name: "asyncio", argv: script("/usr/bin/python3", "py/loop.py"), how: rootOnly, solo: true},
		{name: "manager", argv: script("/usr/bin/python3", "py/manager.py"), how: rootOnly, solo: true},
		{name: "node", argv: script("/usr/bin/node", "js/children.js"), how: rootOnly, solo: true},
		{name: "asyncio_tcp", argv: script("/usr/bin/python3", "py/loop.py"), args: []string{"tcp"}, how: rootOnly, solo: true},
		{name: "manager_tcp", argv: script("/usr/bin/python3", "py/manager.py"), args: []string{"tcp"}, how: rootOnly, solo: true},
		{name: "node_tcp", argv: script("/usr/bin/node", "js/children.js"), args: []string{"tcp"}, how: rootOnly, solo: true},
		{name: "redis", argv: script("/usr/bin/python3", "py/redis.py"), how: rootOnly, solo: true},
		{name: "dbus", argv: script("/usr/bin/python3", "py/dbus.py"), how: rootOnly, solo: true},
		{name: "socketpipe", argv: script("/usr/bin/python3", "py/socketpipe.py"), how: rootOnly},
		{name: "fullqueues", argv: script("/usr/bin/python3", "py/fullqueues.py"), solo: true},
		{name: "ssh", argv: script("/usr/bin/python3", "py/ssh.py"), how: rootOnly, solo: true},
		{name: "goweb", argv: c("goweb"), how: rootOnly, solo: true},
		{name: "goh2", argv: c("goh2"), how: rootOnly, solo: true},
		{name: "javasockets", argv: java("Sockets"), how: rootOnly, solo: true},
		{name: "bash", argv: script("/bin/bash", "sh/pipeline.sh"), how: rootOnly, lead: true},
		{name: "pool", argv: script("/usr/bin/python3", "py/pool.py"), how: rootOnly},
		{name: "java", argv: java("Threads"), how: rootOnly},
		program{name: "make", argv: script("/bin/bash", "sh/make.sh"), how: rootOnly, lead: true, solo: true}.without(
			"its files change until it is killed, and a snapshot does not have them", "kill"),
		{name: "valgrind", argv: valgrind("pipes"), how: rootOnly},
		{name: "perl", argv: script("/usr/bin/perl", "sh/prog.pl")},
	}
	for _, how := range []string{"commit", "rollback", "wal"} {
		list = append(list, program{name: "sqlite_" + how, argv: script("/usr/bin/python3", "py/sqlite.py"), args: []string{how}, solo: true})
	}
	for _, storm := range []string{"fork", "vfork", "nested", "thread"} {
		list = append(list, one("storms").named("storm_"+storm).with(storm).rootOnly())
	}
	for _, call := range []string{"read", "poll", "poll_timed", "ppoll", "select", "pselect_timed", "epoll_wait", "epoll_wait_timed",
		"epoll_pwait", "epoll_pwait2", "futex", "futex_timed", "futex_bitset", "wait4", "waitid", "pause", "sigsuspend", "sigwaitinfo",
		"sigtimedwait", "write_full", "eventfd", "signalfd", "open_fifo"} {
		list = append(list, one("blocked").named("blocked_"+call).with(call))
	}
	for _, call := range []string{"timerfd", "nanosleep", "clock_abs", "clock_rel"} {
		list = append(list, one("blocked").named("blocked_"+call).with(call).endsItself())
	}
	list = append(list, one("blocked").named("blocked_setlkw").with("setlkw").alone())
	for _, call := range []string{"semop", "semtimedop", "msgrcv", "msgsnd", "mq_receive"} {
		list = append(list, one("blocked").named("blocked_"+call).with(call))
	}
	return list
}()
