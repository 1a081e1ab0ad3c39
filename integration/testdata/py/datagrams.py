# datagrams: UDP. A server on a port of the loopback (argument 3) that sends back
# what it gets; a client of it in the tree; and one of somebody outside (argument 4,
# IP:PORT), over a socket of either family, that says something all the time.
import socket
import threading
import time

from prog import *

port, (host, there) = int(sys.argv[3]), sys.argv[4].split(":")
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", port))


def serve():
    while True:
        data, peer = server.recvfrom(100)
        server.sendto(data, peer)


def says():
    n = 0
    while True:
        n += 1
        for s in outside:
            try:
                s.send(b"%d" % n)
            except ConnectionRefusedError:
                pass
        time.sleep(0.02)


inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inside.settimeout(20)
inside.connect(("127.0.0.1", port))
outside = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)]
outside[0].connect((host, int(there)))
outside[1].connect(("::ffff:" + host, int(there)))
ports = [s.getsockname()[1] for s in outside]
for f in serve, says:
    threading.Thread(target=f, daemon=True).start()


def talk():
    inside.send(b"inside")
    check(inside.recv(100) == b"inside", "another answer")


talk()
ready_wait()
talk()
check([s.getsockname()[1] for s in outside] == ports, "other ports than before")
ok()
