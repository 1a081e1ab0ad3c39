package fdstate

import (
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/translate"
	"supervise/policy"
)

// moving is a record of somebody who is elsewhere now.
type moving struct{ Regular }

func (*moving) Translate(*translate.Values) (string, error) { return "/new/peer", nil }

// TestTranslate: names of files change, in records too; a rule of the user's on a
// connection counts more than what a plugin says.
func TestTranslate(t *testing.T) {
	kinds := append([]Kind{{Tag: 200, Name: "moving", Match: never, New: record[moving]}}, Kinds...)
	file := func(tag Tag, link string, rec Record, rule *policy.Rule) File {
		data, err := encodeRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		return File{Tag: tag, Flags: unix.O_RDONLY, Link: link, Data: data, rule: rule}
	}
	watches := []Watch{{WD: 1, File: WatchName{Path: "/old/w"}}, {WD: 2, File: WatchName{Path: "/old/fd/3", Follow: true}}}
	s := State{Files: []File{
		file(tagRegular, "/old/a (deleted)", &Regular{Other: "/old/b"}, nil),
		file(14, "anon_inode:inotify", &Inotify{Watches: watches}, nil),
		file(200, "socket:[1]", &moving{}, nil),
		file(200, "socket:[2]", &moving{}, &policy.Rule{Action: policy.Connect}),
		file(200, "socket:[3]", &moving{}, &policy.Rule{Action: policy.Connect, To: "/user"}),
		file(200, "socket:[4]", &moving{}, &policy.Rule{Action: policy.Hangup}),
	}}
	if err := s.Translate(kinds, &translate.Values{Paths: map[string]string{"/old": "/new"}}); err != nil {
		t.Fatal(err)
	}
	records, err := s.Records(kinds)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Files[0].Link + " " + records[0].(*Regular).Other; got != "/new/a (deleted) /new/b" {
		t.Errorf("a file: %s", got)
	}
	if w := records[1].(*Inotify).Watches; w[0].File.Path != "/new/w" || w[1].File.Path != "/old/fd/3" {
		t.Errorf("watches: %+v", w)
	}
	for i, want := range map[int]policy.Rule{2: {Action: policy.Connect, To: "/new/peer"}, 3: {Action: policy.Connect, To: "/new/peer"},
		4: {Action: policy.Connect, To: "/user"}, 5: {Action: policy.Hangup}} {
		if r := s.Files[i].Rule(); r == nil || r.Action != want.Action || r.To != want.To {
			t.Errorf("file %d: %+v, want %+v", i, r, want)
		}
	}
}
