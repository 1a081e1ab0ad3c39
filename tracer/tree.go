package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/memimg"
	"supervise/memstate"
	"supervise/netstate"
	"supervise/plugins"
	"supervise/taskstate"
	"supervise/treestate"
)

// snapshot is one snapshot in the making.
type snapshot struct {
	opts    Options
	tree    *task.Tree
	procs   []*process // as tree.Procs
	zombies []taskstate.Zombie
	objects memstate.Objects
	spaces  uint32
	rec     treestate.Tree
	image   *memimg.Writer
	refused refuse.List
	waited  bool // see fdstate.Rules.Waited
	rules   fdstate.Rules
	sockets *netstate.Sockets // from the last look

	timeline memimg.Timeline
	manifest memimg.Manifest
}

// Pause is how long the tree stood still in a snapshot of these phases.
func Pause(phases []memimg.Phase) time.Duration {
	var d time.Duration
	for _, ph := range phases {
		switch plugins.Phase(ph.Name) {
		case plugins.Freeze, plugins.Survey, plugins.Capture, plugins.Memory, plugins.Thaw:
			d += ph.Duration
		}
	}
	return d
}

// process is one frozen process and what is known of it so far.
type process struct {
	held   *task.Process
	facts  taskstate.Facts
	vmas   []procfs.VMA
	shares taskstate.Sharing
	space  memstate.Space
	pages  []memimg.Range

	excluded []memimg.Range // what the program does not want to be in pages

	infected bool // the parasite is in it
}

func (s *snapshot) newSpace() uint32 {
	s.spaces++
	return s.spaces
}

// look reads what can be seen of every process from outside, before anything
// is put into it.
func (s *snapshot) look() error {
	s.procs, s.zombies = nil, nil
	ours, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return err
	}
	for _, held := range s.tree.Procs {
		s.procs = append(s.procs, &process{held: held})
	}
	if err := each(len(s.procs), func(i int) error { return s.procs[i].look(&ours, &s.opts) }); err != nil {
		return err
	}
	for _, pid := range s.tree.Zombies {
		z, err := taskstate.CaptureZombie(pid, s.opts.Virtual.AliasSet())
		if err != nil {
			return err
		}
		s.zombies = append(s.zombies, z)
	}
	return nil
}

// look reads what can be seen of one.
func (p *process) look(ours *procfs.Status, o *Options) (err error) {
	if p.facts, err = taskstate.ReadAllFacts(p.held, ours); err != nil {
		return err
	}
	p.facts.NoIoUring = o.NoIoUring
	if o.Virtual != nil {
		p.facts.Virtual = o.Virtual.Program
	}
	if p.vmas, err = procfs.ReadSmaps(int(p.held.PID)); err != nil {
		return fmt.Errorf("read mappings of pid %d: %w", p.held.PID, err)
	}
	p.vmas, err = p.held.CutLeftovers(p.vmas)
	return err
}

// waitForPassing is how long a snapshot waits for what is in its way and
// passes by itself, such as events that the program has not read yet.
const waitForPassing = 2 * time.Second

// longestPause is how long the tree runs between two looks, at most: what
// passes may soon come again.
const longestPause = 20 * time.Millisecond

// survey finds everything in the tree, and everything that cannot be captured.
// As long as that may pass by itself, the tree runs on for a moment. If it has
// not in the end, one more look takes what can be taken all the same.
func (s *snapshot) survey() error {
	pause := time.Millisecond
	for deadline := time.Now().Add(waitForPassing); ; pause = min(2*pause, longestPause) {
		err := s.surveyOnce()
		var refused *refuse.Error
		if !errors.As(err, &refused) || !refused.Passing() || s.waited {
			return err
		}
		s.refused = refuse.List{}
		s.objects.Close()
		s.objects = memstate.Objects{}
		if s.waited = time.Now().Add(pause).After(deadline); s.waited {
			continue
		}
		if s.opts.Loosen != nil {
			s.opts.Loosen()
		}
		tree := s.tree
		s.tree = nil
		if err := tree.Thaw(); err != nil {
			return err
		}
		time.Sleep(pause)
		if err := s.freeze(); err != nil {
			return err
		}
	}
}

func (s *snapshot) surveyOnce() error {
	s.objects.NewSpace = s.newSpace
	s.refuseProcesses()
	if err := s.surveySharing(); err != nil {
		return err
	}
	if err := s.surveyFiles(); err != nil {
		return err
	}
	for _, p := range s.procs {
		if p.shares.Memory != 0 {
			continue
		}
		if _, err := s.objects.Program(p.held.PID); err != nil {
			s.refuse(p, "program file", err.Error(), "restart the program from its new file first")
		}
		mem := memstate.Process{Held: p.held, Comm: p.facts.Stat.Comm, VMAs: p.vmas}
		space, err := memstate.Survey(mem, s.newSpace(), &s.objects, &s.refused)
		if err != nil {
			return err
		}
		p.space, p.excluded = space, s.excludedOf(p)
		if err := s.surveyRings(p, mem); err != nil {
			return err
		}
	}
	if err := each(len(s.procs), func(i int) error { return s.procs[i].findPages() }); err != nil {
		return err
	}
	for _, p := range s.procs {
		s.objects.Hide(p.held, p.pages, p.space.Guards)
	}
	return s.refused.Err()
}

// findPages finds the pages that are a process's own.
func (p *process) findPages() (err error) {
	if p.shares.Memory != 0 {
		return nil
	}
	if p.pages, err = p.space.Private(p.held.PID); err != nil {
		return fmt.Errorf("find pages of pid %d: %w", p.held.PID, err)
	}
	p.pages = leaveOut(p.pages, p.excluded)
	return nil
}

func (s *snapshot) surveyFiles() error {
	var procs, threads []fdstate.Proc
	for _, p := range s.procs {
		infect := func() error { return s.infect(p) }
		procs = append(procs, fdstate.Proc{Held: p.held, Comm: p.facts.Stat.Comm, Shares: p.shares.Files != 0, Infect: infect})
		for _, t := range s.ownTables(p) {
			threads = append(threads, fdstate.Proc{Held: t.Alone(), Comm: p.facts.Stat.Comm, Infect: infect})
		}
	}
	procs = append(procs, threads...)
	s.rules = fdstate.Rules{Policy: s.opts.Policy, Job: s.opts.Name, Ending: s.opts.Stop, Waited: s.waited, Moment: plugins.Fault}
	for _, p := range procs {
		s.rules.Processes = append(s.rules.Processes, p.Comm)
	}
	err := s.sockets.Release() // of an earlier look
	if err != nil {
		return err
	}
	s.sockets = netstate.New(s.controlEnds())
	s.rec.Files, err = fdstate.Capture(procs, s.sockets.WithFiles(), &s.objects, &s.rules, &s.refused)
	return err
}

// controlEnds asks for what belongs to control connections.
func (s *snapshot) controlEnds() map[uint32][]byte {
	if s.opts.Ends == nil {
		return nil
	}
	return s.opts.Ends()
}

// capture puts the parasite into every process and has it tell what only the
// process itself can.
func (s *snapshot) capture() error {
	for _, p := range s.procs {
		if err := s.infect(p); err != nil && !s.refuseSandbox(p, err) {
			return err
		}
	}
	if err := s.refused.Err(); err != nil {
		return err
	}
	if err := s.captureIPC(); err != nil {
		return err
	}
	for _, p := range s.procs {
		var b task.Batch
		var err error
		rec := treestate.Process{Mem: p.space}
		if p.shares.Memory == 0 {
			if err := rec.Mem.Capture(&b, p.held, p.facts.Stat, &s.objects); err != nil {
				return err
			}
		}
		rec.Process, err = taskstate.Capture(p.held, p.facts, &b)
		if s.refuseSandbox(p, err) {
			continue
		}
		if err != nil {
			return err
		}
		rec.Shares = p.shares
		s.rec.Processes = append(s.rec.Processes, rec)
	}
	if err := s.refused.Err(); err != nil {
		return err
	}
	return s.captureTree()
}

// infect puts the parasite into a process, unless it is there already, perhaps
// by way of another with the same memory.
func (s *snapshot) infect(p *process) error {
	if p.infected {
		return nil
	}
	p.infected = true
	if p.shares.Memory == 0 {
		return p.held.Infect(p.vmas)
	}
	mate := s.procs[slices.IndexFunc(s.procs, func(o *process) bool { return o.held.ID == p.shares.Memory })]
	if err := s.infect(mate); err != nil {
		return err
	}
	return p.held.ShareParasite(mate.held)
}

// captureTree records what concerns the tree as a whole.
func (s *snapshot) captureTree() error {
	root := s.procs[0]
	var err error
	if s.rec.Clocks, err = taskstate.CaptureClocks(root.held.PID); err != nil {
		return err
	}
	for i := 0; i < len(s.procs) && s.rec.VDSO.Image == nil; i++ {
		if s.rec.VDSO, err = memstate.ReadVDSO(s.procs[i].held.PID, s.procs[i].vmas); err != nil {
			return err
		}
	}
	if s.rec.Net, err = s.captureNet(); err != nil {
		return err
	}
	s.rec.Version = treestate.Version
	s.rec.Virtual = s.opts.Virtual
	s.rec.Objects = s.objects.Records()
	s.linkParents()
	if err := s.unseenStops(); err != nil {
		return err
	}
	for i := range s.rec.Processes {
		s.rec.XFeatures |= s.rec.Processes[i].XFeatures()
	}
	return nil
}

// captureNet records the network namespace.
func (s *snapshot) captureNet() (*netstate.Namespace, error) {
	records, err := s.rec.Files.Records(netstate.WithFiles())
	if err != nil {
		return nil, err
	}
	return netstate.CaptureNamespace(s.procs[0].held, netstate.Addresses(records))
}

// ids are the tree's own ids of its processes, by the ids that we see.
func (s *snapshot) ids() map[int]task.ID {
	ids := map[int]task.ID{}
	for _, p := range s.procs {
		ids[int(p.held.TGID)] = p.held.ID
	}
	return ids
}

// linkParents translates parents and foreground groups to ids of the tree.
// What leads outside becomes 0.
func (s *snapshot) linkParents() {
	ids := s.ids()
	groups := map[int]task.ID{}
	for i, p := range s.procs {
		rec := &s.rec.Processes[i]
		rec.Parent = ids[p.facts.Stat.PPID]
		groups[p.facts.Stat.PGRP] = rec.Group
	}
	for i, p := range s.procs {
		s.rec.Processes[i].TPGID = groups[p.facts.Stat.TPGID]
	}
	s.rec.Zombies = s.ownZombies(ids)
}

// unseenStops finds the stopped processes whose parents do not know it yet.
func (s *snapshot) unseenStops() error {
	byID := map[task.ID]*task.Process{}
	for _, p := range s.procs {
		byID[p.held.ID] = p.held
	}
	for i := range s.rec.Processes {
		rec := &s.rec.Processes[i]
		parent := byID[rec.Parent]
		if rec.Stopped == 0 || parent == nil {
			continue
		}
		var err error
		if rec.StopUnseen, err = taskstate.StopUnseen(parent, rec.ID); err != nil {
			return err
		}
	}
	return nil
}

// ownZombies keeps those zombies that a process of the tree may still wait for.
func (s *snapshot) ownZombies(ids map[int]task.ID) []taskstate.Zombie {
	var own []taskstate.Zombie
	for i, pid := range s.tree.Zombies {
		st, err := procfs.ReadStat(int(pid))
		if err != nil || ids[st.PPID] == 0 {
			continue
		}
		z := s.zombies[i]
		z.Parent = ids[st.PPID]
		own = append(own, z)
	}
	return own
}

// hostName is for the manifest; an empty one does no harm.
func hostName() string {
	name, _ := os.Hostname()
	return name
}
