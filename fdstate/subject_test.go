package fdstate

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

// subjects are programs that the tests snapshot: this test binary runs one
// when it is started again with its name. Each makes its descriptors and
// returns; dir is an empty directory.
var subjects = map[string]func(dir string){}

const subjectEnv = "FDSTATE_SUBJECT"

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case PtyHelperName:
		os.Exit(PtyHelper())
	case MqueueHelperName:
		os.Exit(MqueueHelper())
	}
	// What whoever runs the tests has left open is not for the subjects.
	check(unix.CloseRange(3, 1<<30, unix.CLOSE_RANGE_CLOEXEC))
	name := os.Getenv(subjectEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	subjects[name](os.Args[1])
	fmt.Println("ready")
	time.Sleep(time.Minute)
}

// must ends a subject on an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// put moves a descriptor to a number of its own.
func put(fd, num, flags int) {
	check(unix.Dup3(fd, num, flags))
	check(unix.Close(fd))
}

// spawn forks a process that keeps our descriptors and sleeps. A subject is a
// Go program, which cannot fork without exec, so sleep(1) it is.
func spawn(files ...int) int {
	attr := &syscall.ProcAttr{Files: make([]uintptr, 0, len(files))}
	for _, fd := range files {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	return must(syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, attr))
}

// subject is a running program and what it was told.
type subject struct {
	pid   task.PID
	dir   string
	uid   int
	stdio []uintptr // of the restart; nil for /dev/null
}

// nobody is the user and group of tests that must work without privilege.
const nobody = 65534

// startSubject runs a subject until it is ready.
func startSubject(t testing.TB, name string, uid int) subject {
	t.Helper()
	return startWith(t, name, uid, func(*exec.Cmd) {})
}

// startWith lets the caller prepare the command.
func startWith(t testing.TB, name string, uid int, prepare func(*exec.Cmd)) subject {
	t.Helper()
	if uid != 0 && os.Getuid() != 0 {
		t.Skip("only root can become nobody")
	}
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = d[:strings.LastIndexByte(d, '/')] {
		check(os.Chmod(d, 0o777))
	}
	cmd := exec.Command("/proc/self/exe", dir)
	cmd.Env = append(os.Environ(), subjectEnv+"="+name)
	cmd.Stderr = os.Stderr
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	prepare(cmd)
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, child := range must(procfs.Children(cmd.Process.Pid)) {
			_ = unix.Kill(child, unix.SIGKILL)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("subject %s: %q, %v", name, line, err)
	}
	return subject{pid: task.PID(cmd.Process.Pid), dir: dir, uid: uid}
}

// kill ends a subject.
func (s subject) kill() { killAll(s.pid) }

// killAll ends processes and waits until they have given up what they held. A
// leader may be a zombie while other threads still hold it; a pidfd tells when
// the last has ended (man 2 pidfd_open).
func killAll(pids ...task.PID) {
	for _, pid := range pids {
		fd := must(unix.PidfdOpen(int(pid), 0))
		check(unix.Kill(int(pid), unix.SIGKILL))
		for must(Poll(fd, unix.POLLIN)) == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		check(unix.Close(fd))
	}
}

// objects is the Env of the tests: it keeps the descriptors of objects in a
// list. Restoring them makes memfds.
type objects struct {
	inodes []inode
	data   [][]byte
}

func (o *objects) Object(pid task.PID, fd int, st *unix.Stat_t, _ string) (uint32, error) {
	key := inode{st.Dev, st.Ino}
	if i := slices.Index(o.inodes, key); i >= 0 {
		return uint32(i), nil
	}
	data, err := os.ReadFile(fdPath(pid, fd))
	o.inodes, o.data = append(o.inodes, key), append(o.data, data)
	return uint32(len(o.data) - 1), err
}

// restore makes the objects in the builder, at the numbers it returns.
func (o *objects) restore(r *Restorer, p *task.Process) (map[uint32]int, error) {
	nums := map[uint32]int{}
	for i, data := range o.data {
		fd, err := p.Call(unix.SYS_MEMFD_CREATE, "object", 0)
		if err != nil {
			return nil, err
		}
		nums[uint32(i)] = r.Reserve()
		var b task.Batch
		b.Add(unix.SYS_WRITE, fd, data, len(data))
		b.Add(unix.SYS_DUP3, fd, nums[uint32(i)], 0)
		b.Add(unix.SYS_CLOSE, fd)
		if err := p.Run(&b); err != nil {
			return nil, err
		}
	}
	return nums, nil
}

// snapshot is what the capture of a subject gave.
type snapshot struct {
	state   State
	objects *objects
	refused []refuse.Object
	tables  []map[int]string // as describeFD has them
	pids    []task.PID
}

// capture takes a snapshot of a subject, and makes sure that it leaves no
// trace.
func (s subject) capture(t *testing.T) *snapshot {
	t.Helper()
	snap := &snapshot{objects: &objects{}}
	before := len(must(procfs.FDs(os.Getpid())))
	err := task.OnThread(func() error {
		tree, err := task.Freeze([]task.PID{s.pid}, 5*time.Second)
		if err != nil {
			return err
		}
		err = snap.take(tree)
		if thawErr := tree.Thaw(); err == nil {
			err = thawErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if after := len(must(procfs.FDs(os.Getpid()))); after != before {
		t.Errorf("%d descriptors open, were %d", after, before)
	}
	return snap
}

// take2 captures without looking at the processes before.
func (snap *snapshot) take2(tree *task.Tree) error {
	var procs []Proc
	for _, p := range tree.Procs {
		procs = append(procs, Proc{Held: p, Infect: func() error { return nil }})
	}
	_, err := Capture(procs, Kinds, snap.objects, nil, &refuse.List{})
	return err
}

func (snap *snapshot) take(tree *task.Tree) error {
	var procs []Proc
	for _, p := range tree.Procs {
		vmas, err := procfs.ReadMaps(int(p.PID))
		if err != nil {
			return err
		}
		if err := p.Infect(vmas); err != nil {
			return err
		}
		procs = append(procs, Proc{Held: p, Comm: must(procfs.Comm(int(p.PID), int(p.PID))), Infect: func() error { return nil }})
		snap.tables = append(snap.tables, describeTable(p.PID))
		snap.pids = append(snap.pids, p.PID)
	}
	var list refuse.List
	state, err := Capture(procs, Kinds, snap.objects, nil, &list)
	for i, p := range tree.Procs {
		if after := describeTable(p.PID); fmt.Sprint(after) != fmt.Sprint(snap.tables[i]) {
			err = fmt.Errorf("pid %d: capture changed descriptors: %v\nwere: %v", p.PID, after, snap.tables[i])
		}
	}
	var refused *refuse.Error
	if e, ok := list.Err().(*refuse.Error); ok {
		refused = e
		snap.refused = refused.Objects
	}
	if err != nil || refused != nil {
		return err
	}
	data, err := cbor.Marshal(state)
	if err != nil {
		return err
	}
	return cbor.Unmarshal(data, &snap.state)
}

// describeTable shows every descriptor of a process so that those of a
// program and of its copy compare equal.
func describeTable(pid task.PID) map[int]string {
	table := map[int]string{}
	for _, num := range must(procfs.FDs(int(pid))) {
		table[num] = describeFD(pid, num)
	}
	return table
}

// hidden are further changes that are known, by test.
var hidden []func(string) string

const timeout = 5 * time.Second

// unstable is what differs between a program and its copy: object numbers,
// the numbers of eventfds, who holds a lock, the time left.
var unstable = regexp.MustCompile(`(?m)^(mnt_id|ino|eventfd-id|it_value):.*$|(pipe|socket):\[\d+\]|( ino:| sdev:)[0-9a-f]+|^lock:\s+\d+: (\S+) .*$`)

func describeFD(pid task.PID, num int) string {
	link := must(procfs.FDLink(int(pid), num))
	info := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, num))))
	text := link + "\n" + info
	for _, hide := range hidden {
		text = hide(text)
	}
	text = unstable.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "lock:") {
			f := strings.Fields(s)
			return strings.Join(append(f[2:5], f[7:]...), " ")
		}
		return s[:min(len(s), 5)]
	})
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines[1:]) // targets of an epoll are in no order
	return strings.Join(lines, "; ")
}

// roundTrip captures a subject, restores it, and compares all descriptors but
// those in skip. Then fn looks closer.
func roundTrip(t *testing.T, name string, uid int, fn func(*testing.T, *snapshot, *restored)) {
	t.Helper()
	s := startSubject(t, name, uid)
	snap := s.capture(t)
	if len(snap.refused) > 0 {
		t.Fatalf("refused: %v", snap.refused)
	}
	_ = unix.Kill(int(s.pid), unix.SIGSTOP)
	err := s.restore(t, snap, func(b *restored) error {
		for i, p := range b.procs {
			compareTables(t, snap.tables[i], describeTable(p.PID), i)
		}
		if fds := must(procfs.FDs(int(b.builder.PID))); len(fds) > 0 {
			t.Errorf("builder still has %v", fds)
		}
		if fn != nil {
			fn(t, snap, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// compareTables leaves out 0, 1 and 2, which are the builder's.
func compareTables(t *testing.T, want, got map[int]string, proc int) {
	t.Helper()
	for num := range want {
		if num > 2 && want[num] != got[num] {
			t.Errorf("process %d fd %d:\n got %s\nwant %s", proc, num, got[num], want[num])
		}
	}
	for num := range got {
		if _, ok := want[num]; !ok {
			t.Errorf("process %d fd %d is too many: %s", proc, num, got[num])
		}
	}
}

// asUsers runs a test as root and as nobody.
func asUsers(t *testing.T, name string, fn func(*testing.T, *snapshot, *restored)) {
	t.Run("root", func(t *testing.T) { roundTrip(t, name, 0, fn) })
	t.Run("nobody", func(t *testing.T) { roundTrip(t, name, nobody, fn) })
}

func (snap *snapshot) tableOf(proc int) Table { return snap.state.Tables[proc] }

// mustFind gives the file behind a number.
func (t Table) mustFind(num int) int {
	for _, fd := range t {
		if fd.Num == num {
			return fd.File
		}
	}
	panic(fmt.Sprintf("no fd %d", num))
}
