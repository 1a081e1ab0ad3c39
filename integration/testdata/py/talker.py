# talker: a server on a port of every address (argument 3) that answers each
# line with its number and the line. It ends with the go file.
import selectors
import socket
import sys

import prog

listener = socket.create_server(("0.0.0.0", int(sys.argv[3])))
sel = selectors.DefaultSelector()
sel.register(listener, selectors.EVENT_READ)
parts, count = {}, 0
prog.say("ready")
while not prog.went():
    for key, _ in sel.select(0.05):
        if key.fileobj is listener:
            conn, _ = listener.accept()
            sel.register(conn, selectors.EVENT_READ)
            parts[conn] = b""
            continue
        conn = key.fileobj
        data = conn.recv(4096)
        if not data:
            sel.unregister(conn)
            conn.close()
            continue
        *lines, parts[conn] = (parts[conn] + data).split(b"\n")
        for line in lines:
            count += 1
            conn.sendall(b"%d %s\n" % (count, line))
prog.ok()
