package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A hold keeps all packets of some connections from coming in and going out.
// Its rules are in a table of nftables that belongs to the socket by which we
// made it: nobody else can change it, and it is gone when the socket is closed,
// however that comes (NFT_TABLE_F_OWNER, Linux
// net/netfilter/nf_tables_api.c:nft_rcv_nl_event, v6.12).
type hold struct {
	fd    int // of the socket
	table string
}

// Hooks, and where we stand in them: before connections are tracked (Linux
// include/uapi/linux/netfilter.h, netfilter_ipv4.h).
const (
	hookIn, hookOut = 1, 3
	priority        = -350
)

var chains = []struct {
	name string
	hook uint32
}{{"in", hookIn}, {"out", hookOut}}

// newHold makes a hold that holds nothing yet.
func newHold() (*hold, error) {
	fd, err := ownNetlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	h := &hold{fd: fd, table: fmt.Sprintf("supervise-%d", os.Getpid())}
	table := nftRequest(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	table.text(unix.NFTA_TABLE_NAME, h.table)
	table.number(unix.NFTA_TABLE_FLAGS, tableOwner)
	msgs := []nlRequest{table}
	for _, c := range chains {
		m := nftRequest(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
		m.text(unix.NFTA_CHAIN_TABLE, h.table)
		m.text(unix.NFTA_CHAIN_NAME, c.name)
		m.text(unix.NFTA_CHAIN_TYPE, "filter")
		m.nest(unix.NFTA_CHAIN_HOOK, func(m *nlRequest) {
			m.number(unix.NFTA_HOOK_HOOKNUM, c.hook)
			at := int32(priority)
			m.number(unix.NFTA_HOOK_PRIORITY, uint32(at))
		})
		msgs = append(msgs, m)
	}
	if err := h.transact(msgs); err != nil {
		return nil, errors.Join(fmt.Errorf("make a table of nftables: %w", err), unix.Close(fd))
	}
	return h, nil
}

// tableOwner is NFT_TABLE_F_OWNER (Linux 5.12).
const tableOwner = 2

// add holds a connection.
func (h *hold) add(local, peer netip.AddrPort) error {
	err := h.transact([]nlRequest{h.rule("in", peer, local), h.rule("out", local, peer)})
	if err != nil {
		return fmt.Errorf("hold the packets between %s and %s: %w", local, peer, err)
	}
	return nil
}

// close lets everything pass.
func (h *hold) close() error {
	if h == nil {
		return nil
	}
	return unix.Close(h.fd)
}

// rule drops what goes from one address to another.
func (h *hold) rule(chain string, from, to netip.AddrPort) nlRequest {
	from, to = plain(from), plain(to)
	family, at := byte(unix.NFPROTO_IPV4), uint32(12) // of the addresses in the header
	if from.Addr().Is6() {
		family, at = unix.NFPROTO_IPV6, 8
	}
	size := uint32(len(from.Addr().AsSlice()))
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from.Port()), to.Port())
	m := nftRequest(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	m.text(unix.NFTA_RULE_TABLE, h.table)
	m.text(unix.NFTA_RULE_CHAIN, chain)
	m.nest(unix.NFTA_RULE_EXPRESSIONS, func(m *nlRequest) {
		m.meta(unix.NFT_META_NFPROTO, []byte{family})
		m.meta(unix.NFT_META_L4PROTO, []byte{unix.IPPROTO_TCP})
		m.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at, from.Addr().AsSlice())
		m.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at+size, to.Addr().AsSlice())
		m.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, ports)
		m.expression("immediate", func(m *nlRequest) {
			const verdict, drop = 0, 0 // NFT_REG_VERDICT, NF_DROP
			m.number(unix.NFTA_IMMEDIATE_DREG, verdict)
			m.nest(unix.NFTA_IMMEDIATE_DATA, func(m *nlRequest) {
				m.nest(unix.NFTA_DATA_VERDICT, func(m *nlRequest) { m.number(unix.NFTA_VERDICT_CODE, drop) })
			})
		})
	})
	return m
}

// transact sends messages of which all are done, or none.
func (h *hold) transact(msgs []nlRequest) error {
	batch := func(kind uint16) nlRequest {
		m := newRequest(kind, 0, nfgen(unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
		m.finish()
		return m
	}
	all := batch(unix.NFNL_MSG_BATCH_BEGIN)
	for _, m := range msgs {
		m.finish()
		all = append(all, m...)
	}
	all = append(all, batch(unix.NFNL_MSG_BATCH_END)...)
	if err := unix.Sendto(h.fd, all, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel by netlink: %w", err)
	}
	var failed error
	for left, buf := len(msgs), make([]byte, 64<<10); left > 0; {
		n, _, err := unix.Recvfrom(h.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read from netlink: %w", err)
		}
		answers, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("answer by netlink: %w", err)
		}
		for _, a := range answers {
			left--
			if len(a.Data) >= 4 {
				if errno := -int32(binary.LittleEndian.Uint32(a.Data)); errno != 0 && failed == nil {
					failed = syscall.Errno(errno)
				}
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// nfgen is struct nfgenmsg.
func nfgen(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, 0}, resource)
}

// nftRequest begins a message of nftables, which are about IPv4 and IPv6.
func nftRequest(kind, flags uint16) nlRequest {
	return newRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags|unix.NLM_F_ACK, nfgen(unix.NFPROTO_INET, 0))
}

// finish writes the length.
func (m nlRequest) finish() { binary.LittleEndian.PutUint32(m, uint32(len(m))) }

// text, number and nest append attributes as netfilter has them: a name with a
// zero byte, a number in the order of networks, other attributes.
func (m *nlRequest) text(kind uint16, value string) { m.attribute(kind, append([]byte(value), 0)) }
func (m *nlRequest) number(kind uint16, value uint32) {
	m.attribute(kind, binary.BigEndian.AppendUint32(nil, value))
}

func (m *nlRequest) nest(kind uint16, fill func(m *nlRequest)) {
	var inner nlRequest
	fill(&inner)
	m.attribute(kind|unix.NLA_F_NESTED, inner)
}

// expression appends a step of a rule.
func (m *nlRequest) expression(name string, fill func(m *nlRequest)) {
	m.nest(unix.NFTA_LIST_ELEM, func(m *nlRequest) {
		m.text(unix.NFTA_EXPR_NAME, name)
		m.nest(unix.NFTA_EXPR_DATA, fill)
	})
}

// register is where steps of a rule put what others compare.
const register = unix.NFT_REG_1

// meta and payload go on only if something of a packet is as given.
func (m *nlRequest) meta(key uint32, is []byte) {
	m.expression("meta", func(m *nlRequest) {
		m.number(unix.NFTA_META_DREG, register)
		m.number(unix.NFTA_META_KEY, key)
	})
	m.compare(is)
}

func (m *nlRequest) payload(base, at uint32, is []byte) {
	m.expression("payload", func(m *nlRequest) {
		m.number(unix.NFTA_PAYLOAD_DREG, register)
		m.number(unix.NFTA_PAYLOAD_BASE, base)
		m.number(unix.NFTA_PAYLOAD_OFFSET, at)
		m.number(unix.NFTA_PAYLOAD_LEN, uint32(len(is)))
	})
	m.compare(is)
}

func (m *nlRequest) compare(is []byte) {
	m.expression("cmp", func(m *nlRequest) {
		m.number(unix.NFTA_CMP_SREG, register)
		m.number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
		m.nest(unix.NFTA_CMP_DATA, func(m *nlRequest) { m.attribute(unix.NFTA_DATA_VALUE, is) })
	})
}
