package ipcstate

import "testing"

func TestCheckRefuses(t *testing.T) {
	good := func() *State {
		return &State{
			Arrays: []Array{{Perm: Perm{ID: 5}, Semaphores: make([]Semaphore, 2)}},
			Queues: []Queue{{Messages: []Message{{Type: 1}}}},
			Undos:  []Undo{{Process: 1, Array: 5, Adjustments: []Adjustment{{Num: 1, By: minAdjust}}}},
		}
	}
	if err := good().Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*State){
		"negative id":          func(s *State) { s.Arrays[0].Perm.ID = -1 },
		"value out of range":   func(s *State) { s.Arrays[0].Semaphores[0].Value = maxValue + 1 },
		"undo of no array":     func(s *State) { s.Undos[0].Array = 6 },
		"undo of no semaphore": func(s *State) { s.Undos[0].Adjustments[0].Num = 2 },
		"undo out of range":    func(s *State) { s.Undos[0].Adjustments[0].By = minAdjust - 1 },
		"message without type": func(s *State) { s.Queues[0].Messages[0].Type = 0 },
		"message too long":     func(s *State) { s.Queues[0].Messages[0].Text = make([]byte, maxText+1) },
	} {
		s := good()
		change(s)
		if s.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestForeign(t *testing.T) {
	s := &State{Arrays: []Array{{Perm: Perm{UID: 1, CUID: 1, GID: 2, CGID: 2}}}}
	if s.Foreign(1, 2) != nil || s.Foreign(1, 3) == nil || s.Foreign(0, 2) == nil || (*State)(nil).Foreign(0, 0) != nil {
		t.Errorf("foreign to 1, 2: %v; to 1, 3: %v", s.Foreign(1, 2), s.Foreign(1, 3))
	}
}
