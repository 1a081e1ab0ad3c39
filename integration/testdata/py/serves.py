# serves: sends back what comes by tcp or udp (argument 3) to an address and port.
import socket
import threading

from prog import *

tcp, at = sys.argv[3] == "tcp", (sys.argv[4], int(sys.argv[5]))
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(at)
if tcp:
    sock.listen()


def serve():
    while True:
        if tcp:
            conn, _ = sock.accept()
            conn.sendall(conn.recv(100))
            conn.close()
        else:
            data, peer = sock.recvfrom(100)
            sock.sendto(data, peer)


threading.Thread(target=serve, daemon=True).start()
ready_wait()
ok()
