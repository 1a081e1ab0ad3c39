package netstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// refusedKinds are the sockets that cannot be captured, each with its reason.
func refusedKinds() []fdstate.Kind {
	of := func(tag fdstate.Tag, name, why string, match func(*fdstate.Desc) bool) fdstate.Kind {
		return fdstate.Kind{Tag: tag, Name: name, Match: match, Why: why, Capture: refuseSocket(why)}
	}
	return []fdstate.Kind{
		of(230, "sctp socket", "the kernel does not tell the state of an association", isInetProtocol(unix.IPPROTO_SCTP)),
		of(231, "dccp socket", "the kernel does not tell the state of a connection", isInetProtocol(unix.IPPROTO_DCCP)),
		of(201, "other ipv4 socket", "its protocol is not known", family(unix.AF_INET)),
		of(202, "other ipv6 socket", "its protocol is not known", family(unix.AF_INET6)),
		of(205, "vsock socket", "the other end is on another machine, or in its supervisor", family(unix.AF_VSOCK)),
		of(233, "alg socket", "keys and what has been computed so far stay in the kernel", family(unix.AF_ALG)),
		of(234, "xdp socket", "it shares its rings with a network device", family(unix.AF_XDP)),
		of(235, "bluetooth socket", "the other end is a device that knows this connection only", family(unix.AF_BLUETOOTH)),
		of(236, "rds socket", "the kernel does not tell what is on its way", family(unix.AF_RDS)),
		of(237, "can socket", "its filters cannot be read back in all protocols", family(unix.AF_CAN)),
		of(238, "tipc socket", "the kernel does not tell the state of a connection", family(unix.AF_TIPC)),
		of(239, "smc socket", "it shares memory with another machine", family(unix.AF_SMC)),
		of(206, "other socket", "sockets of this family are not known", isSocket),
	}
}

func isInetProtocol(protocol int) func(*fdstate.Desc) bool {
	return func(d *fdstate.Desc) bool {
		s := d.Socket
		return isSocket(d) && (s.Domain == unix.AF_INET || s.Domain == unix.AF_INET6) && s.Protocol == protocol
	}
}

// refuseSocket says what the socket is, and why it cannot be captured.
func refuseSocket(why string) func(*fdstate.Desc, *fdstate.Survey) (fdstate.Record, error) {
	return func(d *fdstate.Desc, _ *fdstate.Survey) (fdstate.Record, error) {
		fd, err := d.Copy()
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		s, err := describe(fd)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", d.What(), err)
		}
		return nil, fdstate.Refuse(s.String()+": "+why, s.hint())
	}
}
