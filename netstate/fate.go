package netstate

import (
	"golang.org/x/sys/unix"

	"supervise/policy"
)

// Fate is what becomes of a connection that leads out of the tree; see
// decideOutside.
func (rec *TCP) Fate(rule *policy.Rule) string {
	if !rec.Outside {
		return bound(rule, rec.Local.IsValid())
	}
	end := "reset"
	if rec.State == tcpCloseWait {
		end = "hung up"
	}
	return outsideFate(rule, plain(rec.Peer).String(), end)
}

// Fate is what becomes of a connection, or a name, that leads out of the tree; see
// decide.
func (rec *Unix) Fate(rule *policy.Rule) string {
	switch {
	case rec.Gone == nil || !rec.Gone.Outside:
		return bound(rule, rec.Name != nil)
	case rec.Type == unix.SOCK_DGRAM && rule == nil:
		return ""
	}
	return outsideFate(rule, printName(rec.Gone.Name), "reset")
}

// bound is what a rule says of a socket that others look for.
func bound(rule *policy.Rule, named bool) string {
	if rule.Does(policy.Bind) && named {
		return "bound to " + rule.To
	}
	return ""
}

func outsideFate(rule *policy.Rule, peer, end string) string {
	switch {
	case rule.Does(policy.Keep):
		return "kept"
	case rule.Does(policy.Hangup):
		return "hung up"
	case rule.Does(policy.Connect) && rule.To != "":
		return "connected anew to " + rule.To
	case rule.Does(policy.Connect):
		return "connected anew to " + peer
	}
	return end
}
