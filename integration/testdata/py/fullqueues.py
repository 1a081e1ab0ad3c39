"""Queues at their limits: senders of every kind have sent until nothing more
went. All of it is there afterwards, and then there is room again."""
import socket
from prog import *


def stuff(sender, piece):
    """Sends until it would block, and for a while longer: TCP makes room."""
    sent, sender_idle = [], 0
    sender.setblocking(False)
    while sender_idle < 20:
        data = piece(len(sent))
        try:
            n = sender.send(data)
        except BlockingIOError:
            sender_idle += 1
            time.sleep(0.01)
            continue
        sent.append(data[:n])
    return sent


def drain(receiver, sent, name):
    receiver.settimeout(20)
    for i, want in enumerate(sent):
        got = b""
        while len(got) < len(want):
            part = receiver.recv(len(want) - len(got))
            check(part, f"{name}: the end after {i} of {len(sent)}")
            got += part
        check(got == want, f"{name}: piece {i} of {len(sent)} is {got[:40]}, not {want[:40]}")
    receiver.setblocking(False)
    try:
        check(False, f"{name}: {receiver.recv(100)} is left")
    except BlockingIOError:
        pass


listener = socket.create_server((HOST, 0))
tcp = socket.socket()
tcp.connect(listener.getsockname())
pairs = {"tcp": (tcp, listener.accept()[0])}
pairs["stream"] = socket.socketpair()
pairs["packets"] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
pairs["datagrams"] = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
sent = {name: stuff(pair[0], lambda n: b"%06d " % n * 700) for name, pair in pairs.items()}

# UDP drops what has no room: all that were there stay.
udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for s in udp:
    s.bind((HOST, 0))
udp[0].connect(udp[1].getsockname())
for n in range(3000):
    udp[0].send(b"%d" % n)
ready_wait()
for name, (_, receiver) in pairs.items():
    check(len(sent[name]) > 2, f"{name}: only {len(sent[name])}")
    drain(receiver, sent[name], name)
udp[1].setblocking(False)
n = 0
while True:
    try:
        got = udp[1].recv(100)
    except BlockingIOError:
        break
    check(got == b"%d" % n, f"udp: datagram {n} is {got}")
    n += 1
check(100 < n < 3000, f"udp: {n} datagrams")
for name, (sender, receiver) in pairs.items():
    sender.send(b"more")
    receiver.settimeout(20)
    check(receiver.recv(4) == b"more", f"{name}: no more")
ok()
