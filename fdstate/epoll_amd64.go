package fdstate

import "encoding/binary"

// epollEvent is struct epoll_event, which is packed on x86-64 alone (Linux
// include/uapi/linux/eventpoll.h).
func epollEvent(events uint32, data uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, events)
	return binary.LittleEndian.AppendUint64(b, data)
}
