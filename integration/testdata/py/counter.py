# counter: a server on a port of every address (argument 3) that tells each who
# connects how many have. It ends with the go file.
import select
import socket
import sys

import prog

listener = socket.create_server(("0.0.0.0", int(sys.argv[3])))
prog.say("ready")
count = 0
while not prog.went():
    if select.select([listener], [], [], 0.05)[0]:
        conn, _ = listener.accept()
        count += 1
        conn.sendall(b"%d\n" % count)
        conn.close()
prog.ok()
