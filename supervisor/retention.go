package supervisor

import (
	"fmt"
	"slices"
	"time"
)

// Retention says which good images of a job are kept: the newest ones, and the
// newest of each of the last hours, days and weeks that have one. An image that
// any of them keeps is kept.
type Retention struct {
	Keep   int
	Hourly int
	Daily  int
	Weekly int
}

// None reports whether r says nothing, so that nothing is to be removed.
func (r Retention) None() bool { return r == Retention{} }

// kept gives what r keeps, and why. Besides the newest good image and what the
// rules ask for, that is everything of which it cannot be said that it is of
// no more use: images newer than the newest good one, and images in a state
// that may not be theirs for good.
func (r Retention) kept(images []*StoredImage) map[*StoredImage]string {
	kept := make(map[*StoredImage]string)
	keep := func(i *StoredImage, why string) {
		if kept[i] == "" {
			kept[i] = why
		}
	}
	rules := r.rules()
	newest := newestGood(images)
	for _, i := range slices.Backward(images) {
		switch {
		case i.State == Unfinished, i.State == Newer, i.State == Unreadable:
			keep(i, string(i.State))
		case newest == nil || i.Number > newest.Number:
			keep(i, "newer than any good one")
		case i.State != Good:
		default:
			if i == newest {
				keep(i, "newest good one")
			}
			for n := range rules {
				if why := rules[n].take(i.Manifest.Created); why != "" {
					keep(i, why)
				}
			}
		}
	}
	return kept
}

// rule keeps the newest image of each of the last periods that have one.
type rule struct {
	name   string
	left   int
	period func(time.Time) string
	last   string
}

func (r Retention) rules() []rule {
	return []rule{
		{name: "keep", left: r.Keep}, // every image is a period of its own
		{name: "hourly", left: r.Hourly, period: func(t time.Time) string { return t.Format("2006-01-02 15 -07") }},
		{name: "daily", left: r.Daily, period: func(t time.Time) string { return t.Format("2006-01-02") }},
		{name: "weekly", left: r.Weekly, period: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-%d", year, week)
		}},
	}
}

// take is asked for each image, the newest first, and tells why to keep it, or
// nothing.
func (r *rule) take(created time.Time) string {
	if r.left == 0 {
		return ""
	}
	if r.period != nil {
		period := r.period(created.Local())
		if period == r.last {
			return ""
		}
		r.last = period
	}
	r.left--
	return r.name
}
