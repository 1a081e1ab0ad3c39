"""A session with redis, over a unix socket of the host. It counts there, and
whatever becomes of the connection, no step may be lost.

session.py GO LOG REDIS [reopens]: with "reopens" it asks its supervisor to be
told of snapshots, closes the session before them, and opens it after them."""
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
from prog import *

redis, reopens = sys.argv[3], len(sys.argv) > 4
lock = threading.Lock()  # of the session


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(redis)
    return s


session = connect()


def count():
    with lock:
        session.sendall(b"INCR steps\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = session.recv(100)
            check(part, "the session has ended")
            answer += part
    check(answer[:1] == b":", f"redis says {answer}")
    return int(answer[1:])


def listen():
    """Keeps the session closed from before a snapshot until after it."""
    global session
    c = socket.socket(socket.AF_UNIX)
    c.connect(os.environ["SUPERVISE_SOCKET"])
    lines = c.makefile("rw")
    print(json.dumps({"id": 1, "request": "register",
                      "events": ["before-freeze", "resumed", "restarted", "failed"]}), file=lines, flush=True)
    check("result" in lines.readline(), "register")
    registered.set()
    closed = False
    for line in lines:
        e = json.loads(line)
        if e["event"] == "before-freeze":
            lock.acquire()
            session.close()
            closed = True
            print(json.dumps({"reply": e["seq"]}), file=lines, flush=True)
        elif closed:
            session = connect()
            closed = False
            lock.release()
            say(e["event"])


registered = threading.Event()
if reopens:
    threading.Thread(target=listen, daemon=True).start()
    registered.wait()
n = count()
say("ready")
while not went():
    m = count()
    check(m == n + 1, f"step {m} after {n}")
    n = m
    time.sleep(0.02)
    while os.path.exists(os.path.join(os.path.dirname(GO), "pause")):
        time.sleep(0.01)
ok()
