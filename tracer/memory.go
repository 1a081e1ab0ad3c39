package tracer

import (
	"time"

	"golang.org/x/sys/unix"

	"supervise/memimg"
	"supervise/memstate"
	"supervise/plugins/client"
)

// memory writes the pages of every process and of every shared object.
func (s *snapshot) memory() error {
	dumps, err := s.objects.Dumps()
	if err != nil {
		return err
	}
	for i, p := range s.procs {
		if p.shares.Memory != 0 {
			continue
		}
		// Guards became known when pages were looked for, after the record was made.
		s.rec.Processes[i].Mem.Guards = p.space.Guards
		dumps = append(dumps, memimg.Dump{
			Space: p.space.ID, Source: memstate.Source(p.held.PID), Ranges: p.pages,
		})
	}
	if err := s.image.WritePages(dumps, progress(s.opts.Progress, total(dumps))); err != nil || s.opts.Found == nil {
		return err
	}
	found, err := s.rec.Found(client.Most)
	if err == nil {
		s.opts.Found(found)
	}
	return err
}

func total(dumps []memimg.Dump) int64 {
	var n int64
	for _, d := range dumps {
		for _, r := range d.Ranges {
			n += int64(r.Len())
		}
	}
	return n
}

func progress(report func(done, total int64), total int64) func(int64) {
	if report == nil {
		return nil
	}
	return func(done int64) { report(done, total) }
}

// commit makes the image a snapshot.
func (s *snapshot) commit() error {
	if err := s.image.Flush(); err != nil {
		return err
	}
	if s.opts.Blobs != nil {
		s.rec.Blobs = s.opts.Blobs()
	}
	records, err := s.rec.Encode()
	if err != nil {
		return err
	}
	s.timeline.End()
	var control *memimg.Control
	if s.opts.Manifest != nil {
		control = s.opts.Manifest()
	}
	s.manifest, err = s.image.Commit(memimg.Manifest{
		Program: s.opts.Program,
		Created: time.Now().UTC().Truncate(time.Second),
		Host: memimg.Host{
			Name: hostName(), Kernel: kernelRelease(), Arch: "amd64",
			XFeatures: memimg.Mask(s.rec.XFeatures),
		},
		Summary: s.summary(),
		Phases:  s.timeline.Phases,
		Control: control,
	}, records)
	return err
}

func (s *snapshot) summary() memimg.Summary {
	root := &s.rec.Processes[0]
	sum := memimg.Summary{
		Job: s.opts.Name, RootPID: int(root.ID), Command: root.Command,
		Processes: len(s.rec.Processes), Policy: s.opts.JobPolicy,
		Interval: s.opts.Interval, Keep: s.opts.Keep,
	}
	for i := range s.rec.Processes {
		sum.Threads += len(s.rec.Processes[i].Threads)
	}
	return sum
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
