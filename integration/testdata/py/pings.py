# pings: has the kernel answer on a ping socket, as soon as it may make one, and
# writes down how often (argument 3).
import socket

from prog import *

say("ready")
sock, n = None, 0
while not went():
    time.sleep(0.02)
    try:
        sock = sock or socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    except PermissionError:
        continue
    n += 1
    sock.settimeout(20)
    sock.sendto(b"\x08\0\0\0\0\0" + n.to_bytes(2, "big") + b"here", ("127.0.0.1", 0))
    while (got := sock.recv(100))[6:8] != n.to_bytes(2, "big"):
        pass
    check(got[:1] == b"\0" and got[8:] == b"here", f"got {got}")
    with open(sys.argv[3], "w") as f:
        f.write(str(n))
check(n > 0, "no ping")
ok()
