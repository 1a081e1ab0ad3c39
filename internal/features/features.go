// Package features tells what this user on this host can do: a table of what
// the program needs of the kernel, with a probe each that tries it for real.
//
// `supervise check`, README and the tests' reasons to skip are made from the
// table.
package features

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Need says what depends on a feature.
type Need string

// The needs.
const (
	Snapshot Need = "snapshot" // no snapshot without it
	Restart  Need = "restart"  // no restart without it
	IDs      Need = "ids"      // a restart needs one of these, for the program to see its old pids
	Better   Need = "better"   // all works without it, but something is less good
)

// Feature is one thing that the kernel may or may not let this user do.
type Feature struct {
	Name    string
	Since   string // version of Linux
	Need    Need
	Enables string // what it is for
	Without string // what happens where it is missing
	probe   func(*bench) error
	enable  func(error) string // what would make it work
}

// Result is what a probe found.
type Result struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not: call and errno
	Enable string `json:"enable,omitempty"` // what would make it work
}

// All is the table, in the order in which it is shown.
var All = []Feature{
	{Name: "ptrace", Since: "3.4", Need: Snapshot, probe: probePtrace, enable: enablePtrace,
		Enables: "stop a tree of one's own", Without: "no snapshots"},
	{Name: "attach", Since: "3.4", Need: Better, probe: probeAttach, enable: enablePtrace,
		Enables: "take snapshots of trees that are no descendants of supervise", Without: "snapshots only by root"},
	{Name: "process-vm", Since: "3.2", Need: Snapshot, probe: probeProcessVM, enable: enableConfig("CONFIG_CROSS_MEMORY_ATTACH"),
		Enables: "read and write memory", Without: "no snapshots"},
	{Name: "pagemap-scan", Since: "6.7", Need: Snapshot, probe: probePagemapScan, enable: enableKernel,
		Enables: "store only the pages that exist", Without: "no snapshots"},
	{Name: "kcmp", Since: "5.12", Need: Snapshot, probe: probeKcmp, enable: enableConfig("CONFIG_KCMP"),
		Enables: "find what processes share", Without: "no snapshots"},
	{Name: "pidfd-getfd", Since: "5.6", Need: Snapshot, probe: probePidfdGetfd, enable: enableKernel,
		Enables: "read what is in pipes", Without: "no snapshots"},
	{Name: "unix-diag", Since: "3.3", Need: Better, probe: probeDiag(unix.AF_UNIX, 0), enable: enableConfig("CONFIG_UNIX_DIAG"),
		Enables: "find the other ends of unix sockets", Without: "no snapshots of trees with unix sockets"},
	{Name: "inet-diag", Since: "2.6.14", Need: Better, probe: probeDiag(unix.AF_INET, unix.IPPROTO_TCP), enable: enableConfig("CONFIG_INET_TCP_DIAG"),
		Enables: "find the other ends of TCP connections", Without: "no snapshots of trees with TCP sockets"},
	{Name: "image-dir", Since: "any", Need: Snapshot, probe: probeImageDir, enable: enableDir,
		Enables: "keep images", Without: "name another place with --image or --dir"},
	{Name: "direct-io", Since: "any", Need: Better, probe: probeDirectIO, enable: enableDirectIO,
		Enables: "write images past the page cache", Without: "images are written more slowly"},

	{Name: "mm-map", Since: "3.18", Need: Restart, probe: probeMMMap, enable: enableConfig("CONFIG_CHECKPOINT_RESTORE"),
		Enables: "put heap, arguments and environment back in place", Without: "no restarts"},
	{Name: "map-vdso", Since: "4.9", Need: Restart, probe: probeMapVDSO, enable: enableConfig("CONFIG_CHECKPOINT_RESTORE"),
		Enables: "put the vDSO back in place", Without: "no restarts"},
	{Name: "exe-link", Since: "5.9", Need: Restart, probe: probeExeLink, enable: enableNamespace,
		Enables: "give /proc/PID/exe its old target", Without: "no restarts"},
	{Name: "set-tid", Since: "5.9", Need: IDs, probe: probeSetTID, enable: enableCapability("CAP_CHECKPOINT_RESTORE"),
		Enables: "restart with the old pids in this pid namespace", Without: "a pid namespace for each restarted tree"},
	{Name: "pid-namespace", Since: "3.8", Need: IDs, probe: probePIDNamespace, enable: enableNamespace,
		Enables: "restart with the old pids though others have them now", Without: "restarts only where all ids are free"},
	{Name: "ipc-namespace", Since: "5.19", Need: Better, probe: probeIPCNamespace, enable: enableNamespace,
		Enables: "restart trees with System V semaphores, queues and segments, or message queues, beside others",
		Without: "such trees cannot be restarted, or only as root where their ids are free"},
	{Name: "net-namespace", Since: "3.0", Need: Better, probe: probeNetNamespace, enable: enableNamespace,
		Enables: "restart trees with --net=private, in a network namespace of their own",
		Without: "one copy of a server at a time, whose ports are free"},
	{Name: "tcp-repair", Since: "3.5", Need: Better, probe: probeTCPRepair, enable: enableCapability("CAP_NET_ADMIN"),
		Enables: "keep TCP connections that lead out of the tree over a restart (--tcp=keep)",
		Without: "they end with a restart, or are made anew"},
	{Name: "time-namespace", Since: "5.6", Need: Better, probe: probeTimeNamespace, enable: enableNamespace,
		Enables: "let the monotonic clock go on after a reboot or on another host", Without: "restarts there are refused, or jump in time"},
	{Name: "timer-ids", Since: "6.15", Need: Better, probe: probeTimerIDs, enable: enableKernel,
		Enables: "make POSIX timers with their old ids at once", Without: "timers are made and deleted until the id fits"},
	{Name: "seccomp-notify", Since: "5.19", Need: Better, probe: probeSeccompNotify, enable: enableSeccompNotify,
		Enables: "run --virtualize: let programs see the host that they were started on", Without: "no --virtualize"},
	{Name: "vma-name", Since: "5.17", Need: Better, probe: probeVMAName, enable: enableConfig("CONFIG_ANON_VMA_NAME"),
		Enables: "keep the names of anonymous mappings",
		Without: "names are lost"},
	{Name: "unconfined", Since: "any", Need: Better, probe: probeUnconfined, enable: enableUnconfined,
		Enables: "restart a tree without handing it restrictions of ours", Without: "restarted programs inherit them"},
}

// Find gives a feature by its name.
func Find(name string) (Feature, bool) {
	i := slices.IndexFunc(All, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return Feature{}, false
	}
	return All[i], true
}

// Probe tries one feature. It leaves nothing behind.
func Probe(name string) Result {
	f, ok := Find(name)
	if !ok {
		return Result{Reason: "there is no feature " + name}
	}
	b := newBench(os.TempDir())
	defer b.close()
	return f.run(b)
}

// Named is the result of a feature.
type Named struct {
	Feature
	Result
}

// ProbeAll tries every feature. dir is where images are to be.
func ProbeAll(dir string) []Named {
	b := newBench(dir)
	defer b.close()
	all := make([]Named, 0, len(All))
	for _, f := range All {
		all = append(all, Named{f, f.run(b)})
	}
	return all
}

func (f *Feature) run(b *bench) Result {
	err := f.probe(b)
	if err == nil {
		return Result{OK: true}
	}
	return Result{Reason: err.Error(), Enable: f.enable(err)}
}

// Verdict says whether snapshots and restarts work, and why not.
func Verdict(all []Named) (snapshot, restart error) {
	restart = errors.New("neither set-tid nor pid-namespace works")
	var missing []error
	for _, n := range all {
		switch {
		case n.OK && n.Need == IDs:
			restart = nil
		case !n.OK && n.Need == Snapshot:
			snapshot = errors.Join(snapshot, errors.New(n.Name+" is missing"))
		case !n.OK && n.Need == Restart:
			missing = append(missing, errors.New(n.Name+" is missing"))
		}
	}
	return snapshot, errors.Join(append(missing, restart)...)
}
