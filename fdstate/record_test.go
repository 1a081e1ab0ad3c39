package fdstate

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// samples has a record of each kind that can be captured.
var samples = map[Tag]Record{
	1: &Outside{Std: []int{0, 2}, Like: -1, Terminal: &Terminal{Major: 136, Minor: 300, Termios: &Termios{Lflag: 7, Cc: [19]byte{3}},
		Winsize: Winsize{Row: 24, Col: 80}}},
	2:  &PathOnly{Type: 0o40000},
	3:  &Object{ID: 9},
	4:  &Regular{Size: 1 << 40},
	5:  &Directory{},
	6:  &Device{1, 3},
	7:  &Pipe{ID: 3, Fifo: true, Buffer: &Buffer{Size: 65536, Chunks: [][]byte{[]byte("data"), {}}, Packets: true}},
	8:  &Pty{Index: 4, Master: &Master{Packet: true}},
	9:  &Eventfd{Count: 1 << 63, Semaphore: true},
	10: &Timerfd{Clock: 1, Flags: 1, Ticks: 3, Interval: 5, Value: -7},
	11: &Signalfd{Mask: 1 << 63},
	12: &Epoll{Interests: []Interest{{Proc: 0, FD: 7, Events: 1 << 31, Data: 1<<64 - 1}}},
	13: &Pidfd{ID: 77},
	15: &HungUp{Index: 3},
	14: &Inotify{Watches: []Watch{{WD: 2, Mask: unix.IN_CREATE, File: WatchName{Path: "/proc/7/fd/3", Follow: true}}}},
	104: &Fanotify{Flags: unix.FAN_CLASS_CONTENT, EventFlags: unix.O_NOATIME, Marks: []Mark{
		{Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_CLOSE_WRITE, Ignored: unix.FAN_OPEN, File: WatchName{Path: "/mnt"}},
	}},
	20: &Mqueue{ID: 1, Name: "q", Unlinked: true, Limits: mqueueMax{10, 8192}, Mode: 0o600, UID: 5},
	90: &Redirected{Path: "/a", From: 1},
	91: &Given{Index: 1},
}

// TestRecords also makes sure that tags are used once, and that every kind is
// either captured or says why not.
func TestRecords(t *testing.T) {
	seen := map[Tag]bool{}
	for _, k := range Kinds {
		if seen[k.Tag] || k.Match == nil || k.Name == "" {
			t.Errorf("kind %d (%s): tag used twice, or no name or match", k.Tag, k.Name)
		}
		seen[k.Tag] = true
		if (k.Capture == nil) != (k.New == nil) && !k.ByRule() || (k.New == nil) != (k.Why != "") {
			t.Errorf("%s: neither captured nor refused", k.Name)
		}
		if k.New == nil {
			continue
		}
		data, err := encodeRecord(samples[k.Tag])
		rec := k.New()
		if err := errors.Join(err, decodeRecord(data, rec)); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		for cut := range len(data) {
			if err := decodeRecord(data[:cut], k.New()); err == nil {
				t.Errorf("%s: cut after %d bytes: no error", k.Name, cut)
			}
		}
		if err := decodeRecord(append(bytes.Clone(data), 0), k.New()); err == nil {
			t.Errorf("%s: a byte too many: no error", k.Name)
		}
	}
}

// state makes an image of one process with one descriptor.
func state(t *testing.T, tag Tag, rec Record) State {
	t.Helper()
	data, err := encodeRecord(rec)
	if err != nil {
		t.Fatal(err)
	}
	return State{Files: []File{{Tag: tag, Link: "x", Data: data}}, Tables: []Table{{{Num: 3}}}}
}

func TestNewRestorerRefuses(t *testing.T) {
	for want, change := range map[string]func(*State){
		"unknown tag":               func(s *State) { s.Files[0].Tag = 99 },
		"record of file 0 (tag 9)":  func(s *State) { s.Files[0].Data = []byte{0xa1, 0x18, 0x63, 0} },
		"not in canonical form":     func(s *State) { s.Files[0].Data = []byte{0xa1, 0x01, 0x18, 0x01} },
		"no file 1":                 func(s *State) { s.Tables[0][0].File = 1 },
		"number 3 after 3":          func(s *State) { s.Tables[0] = append(s.Tables[0], FD{Num: 3}) },
		"number -1":                 func(s *State) { s.Tables[0][0].Num = -1 },
		"it has no record":          func(s *State) { s.Files[0].Data = nil },
		"not a redirected file":     func(s *State) { *s = state(t, 90, &Redirected{Path: "/a"}) },
		"not a lock":                func(s *State) { s.Files[0].Locks = []Lock{{Kind: LockPOSIX, Proc: 1}} },
		"no process 5":              func(s *State) { *s = state(t, 12, &Epoll{Interests: []Interest{{Proc: 5}}}) },
		"3 is not the number of":    func(s *State) { *s = state(t, 1, &Outside{Std: []int{3}}) },
		"with 0 messages":           func(s *State) { *s = state(t, 20, &Mqueue{Name: "q"}) },
		"message queue \"a/b\"":     func(s *State) { *s = state(t, 20, &Mqueue{Name: "a/b", Limits: mqueueMax{1, 1}}) },
		"no pty has number 1048576": func(s *State) { *s = state(t, 8, &Pty{Index: 1 << 20}) },
	} {
		s := state(t, 9, &Eventfd{Count: 1})
		if _, err := NewRestorer(s, Kinds, nil); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if _, err := NewRestorer(s, Kinds, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzRecords holds decoders to this: what decodes gives the same bytes again,
// and nothing makes them panic or the restorer take indexes out of range.
func FuzzRecords(f *testing.F) {
	for _, k := range Kinds {
		if k.New != nil {
			data, err := encodeRecord(samples[k.Tag])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint16(k.Tag), []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, tag uint16, data []byte) {
		s := State{Files: []File{{Tag: Tag(tag), Data: data}}, Tables: []Table{{{Num: 3}}}}
		r, err := NewRestorer(s, Kinds, nil)
		if err != nil {
			return
		}
		again, err := encodeRecord(r.records[0])
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x comes back as %x, %v", data, again, err)
		}
		r.Terminals()
	})
}
