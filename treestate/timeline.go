package treestate

import (
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

// phase is when a maker makes something.
type phase int

// The phases, in the order of the skeleton.
const (
	early  phase = iota // in the session that the maker was born in, which it leaves
	plain               // in its own
	orphan              // in a session whose leader has died
)

// maker is what one process makes in its life, and what it has meanwhile.
type maker struct {
	*plan
	i     int // of the process
	units []unit
	made  []int
	phase map[int]phase

	has, final things
	sheds      uint64 // since it last made something
	fresh      bool
}

// unit are processes that need the same at one time.
type unit struct {
	procs []int
	phase phase
	needs things
	torn  bool // they need several things of one kind
}

func newMaker(p *plan, i int, fresh bool) *maker {
	m := &maker{plan: p, i: i, fresh: fresh, phase: map[int]phase{}}
	if i != builder {
		m.has, m.final = p.born[i], p.final(i)
	}
	return m
}

// add adds a process to what m makes, which was born in the session.
func (m *maker) add(i int, born task.ID) {
	rec, own := m.procs[i], m.procs[0].Session
	leads := false
	if m.i != builder {
		own, leads = m.procs[m.i].Session, m.procs[m.i].Session == m.procs[m.i].ID
	}
	u := unit{procs: []int{i}, needs: m.born[i], phase: orphan}
	switch {
	case rec.Session == rec.ID || rec.Session == own:
		u.phase = plain
	case leads && rec.Session == born:
		u.phase = early
	}
	m.phase[i] = u.phase
	for at := range m.units {
		if mate := &m.units[at]; u.phase == orphan && mate.phase == orphan && m.procs[mate.procs[0]].Session == rec.Session {
			mate.join(u)
			return
		}
	}
	m.units = append(m.units, u)
}

// join adds another unit of the same session, which one stand-in makes.
func (u *unit) join(other unit) {
	u.procs = append(u.procs, other.procs...)
	for k, need := range other.needs {
		u.torn = u.torn || need != 0 && u.needs[k] != 0 && need != u.needs[k]
		if need != 0 {
			u.needs[k] = need
		}
	}
}

// makeAll puts the units into an order in which all find what they need.
func (m *maker) makeAll() error {
	slices.SortStableFunc(m.units, func(a, b unit) int { return int(a.phase) - int(b.phase) })
	for len(m.units) > 0 {
		at := slices.IndexFunc(m.units, func(u unit) bool { return u.phase == m.units[0].phase && m.satisfies(&u) })
		if at < 0 {
			at = slices.IndexFunc(m.units, func(u unit) bool { return u.phase == m.units[0].phase && m.prepare(&u) })
		}
		if at < 0 {
			return &SharingError{m.procs[m.units[0].procs[0]].ID, errMaker}
		}
		u := m.units[at]
		m.units = slices.Delete(m.units, at, at+1)
		m.deliver(&u)
	}
	return m.end()
}

// satisfies tells whether u can be made now.
func (m *maker) satisfies(u *unit) bool {
	for k, need := range u.needs {
		if need != 0 && need != m.has[k] {
			return false
		}
	}
	return !u.torn
}

// prepare gives up what is in the way of u, if nobody needs it any more, and
// begins what u needs. It changes nothing where that is impossible.
func (m *maker) prepare(u *unit) bool {
	before, sheds := m.has, m.sheds
	for k, need := range u.needs {
		if need == 0 || need == m.has[k] {
			continue
		}
		if m.has[k] != 0 && !m.shed(k, u) || !m.begin(k, need, u) {
			m.has, m.sheds = before, sheds
			return false
		}
	}
	if !m.satisfies(u) {
		m.has, m.sheds = before, sheds
		return false
	}
	return true
}

// begin calls what m has of kind k by the name of a thing. That must be one that
// only m and those that come of it have; if m keeps it, after all others.
func (m *maker) begin(k int, thing task.ID, now *unit) bool {
	if m.i == builder || m.within[m.i][thing][k] != m.total[k][thing] {
		return false
	}
	if thing == m.final[k] && m.needed(now, func(need task.ID) bool { return need != thing }, k) {
		return false
	}
	if k == files && !m.executeFirst(now) && thing == m.final[k] {
		return false
	}
	m.has[k] = thing
	return true
}

// executeFirst gives up memory and handlers that nobody needs any more: a descriptor table
// that m begins to share would go with them later. It tells whether m keeps those that it has then.
func (m *maker) executeFirst(now *unit) bool {
	for _, k := range []int{memory, handlers} {
		passing := func(thing task.ID) bool { return thing != 0 && thing != m.final[k] }
		if passing(now.needs[k]) || m.needed(now, passing, k) || passing(m.has[k]) && !m.shed(k, now) {
			return false
		}
	}
	return true
}

// shed gives up what m has of kind k, and what goes with it, unless somebody
// needs it yet.
func (m *maker) shed(k int, now *unit) bool {
	if m.i == builder {
		return false
	}
	flags := given(taskstate.Shareable[k].Flag)
	if !unshared(taskstate.Shareable[k].Flag) && m.procs[m.i].ExitSignal != int(unix.SIGCHLD) {
		return false
	}
	for k, sh := range taskstate.Shareable {
		if sh.Flag&flags == 0 || m.has[k] == 0 {
			continue
		}
		if m.has[k] == m.final[k] || m.needed(nil, func(need task.ID) bool { return need == m.has[k] }, k) || now != nil && now.needs[k] == m.has[k] {
			return false
		}
	}
	for k, sh := range taskstate.Shareable {
		if sh.Flag&flags != 0 {
			m.has[k] = 0
		}
	}
	m.sheds |= flags
	return true
}

// needed tells whether a unit that is still to be made, but for one, needs a
// thing of kind k that is so.
func (m *maker) needed(but *unit, so func(task.ID) bool, k int) bool {
	return slices.ContainsFunc(m.units, func(u unit) bool {
		if but != nil && u.procs[0] == but.procs[0] {
			return false
		}
		return u.needs[k] != 0 && so(u.needs[k])
	})
}

// deliver notes how the processes of u are made.
func (m *maker) deliver(u *unit) {
	if m.sheds&unix.CLONE_VM != 0 {
		m.fresh, m.executes = true, true
	}
	for at, i := range u.procs {
		o := &m.origins[i]
		if at == 0 {
			o.Sheds, m.sheds = m.sheds, 0
		}
		for k, need := range m.born[i] {
			if need != 0 {
				o.Flags |= taskstate.Shareable[k].Flag
			}
		}
		o.Fresh = m.fresh
		m.made = append(m.made, i)
	}
	m.order = append(m.order, u.procs...)
}

// end gives up what m is not to keep.
func (m *maker) end() error {
	if m.i == builder {
		return nil
	}
	for k := range kinds {
		shared := m.total[k][m.final[k]] > 1
		switch {
		case m.has[k] == m.final[k], m.has[k] == 0 && !shared:
		case shared || !m.shed(k, nil):
			return &SharingError{m.procs[m.i].ID, errMaker}
		}
	}
	o := &m.origins[m.i]
	o.Last = m.sheds
	m.executes = m.executes || m.sheds&unix.CLONE_VM != 0
	o.Fresh = m.fresh || m.sheds&unix.CLONE_VM != 0
	return nil
}
