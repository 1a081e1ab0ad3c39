package main

import (
	"testing"
	"time"

	"supervise/memimg"
	"supervise/supervisor"
)

// TestRestartSchedule: a job goes on as before, but for what flags say.
func TestRestartSchedule(t *testing.T) {
	const minute = time.Minute
	interval := func(d time.Duration) *time.Duration { return &d }
	keep := func(n int) *int { return &n }
	for _, test := range []struct {
		name string
		cmd  restartCmd
		job  memimg.Summary
		want supervisor.Schedule
		bad  bool
	}{
		{name: "none", cmd: restartCmd{}},
		{name: "as before", job: memimg.Summary{Interval: minute, Keep: 3}, want: supervisor.Schedule{Interval: minute, Keep: 3}},
		{name: "another interval", cmd: restartCmd{Interval: interval(time.Hour)}, job: memimg.Summary{Interval: minute, Keep: 3},
			want: supervisor.Schedule{Interval: time.Hour, Keep: 3}},
		{name: "all kept", cmd: restartCmd{Keep: keep(0)}, job: memimg.Summary{Interval: minute, Keep: 3}, want: supervisor.Schedule{Interval: minute}},
		{name: "no more", cmd: restartCmd{Interval: interval(0)}, job: memimg.Summary{Interval: minute, Keep: 3}},
		{name: "begun", cmd: restartCmd{Interval: interval(minute), Keep: keep(2)}, want: supervisor.Schedule{Interval: minute, Keep: 2}},
		{name: "detached", cmd: restartCmd{Detach: true}, job: memimg.Summary{Interval: minute, Keep: 3}},
		{name: "keep of nothing", cmd: restartCmd{Keep: keep(2)}, bad: true},
		{name: "too short in the image", job: memimg.Summary{Interval: 1}, bad: true},
	} {
		got, err := test.cmd.schedule(&test.job)
		if (err != nil) != test.bad || !test.bad && got != test.want {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}
