"""redis-server, with redis-cli and connections of our own that count."""
import os, socket, subprocess, tempfile, threading, time
from prog import *


def free_port():
    with socket.socket() as s:
        s.bind((HOST, 0))
        return s.getsockname()[1]


port = free_port()
server = subprocess.Popen(["redis-server", "--bind", HOST, "--port", str(port), "--save", "", "--daemonize", "no", "--protected-mode", "no"],
                          stdout=subprocess.DEVNULL, cwd=os.path.dirname(GO))


def connect():
    for _ in range(200):
        try:
            return socket.create_connection((HOST, port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    fail("redis does not listen")


def request(f, *words):
    f.write(b"".join([b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(w), w) for w in words]))
    f.flush()
    return f.readline()


def count(total):
    f = connect().makefile("rwb")
    n = 0
    while not stop.is_set():
        check(request(f, b"INCR", b"all").startswith(b":"), "no number")
        n += 1
        check(request(f, b"SET", b"big", b"x" * 100000) == b"+OK\r\n", "no OK")
        check(request(f, b"STRLEN", b"big") == b":100000\r\n", "wrong length")
    total.append(n)


connect().close()
stop, total = threading.Event(), []
threads = [threading.Thread(target=count, args=(total,)) for _ in range(3)]
cli = subprocess.Popen(["redis-cli", "-h", HOST, "-p", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(line, want):
    cli.stdin.write(line + b"\n")
    cli.stdin.flush()
    got = cli.stdout.readline()
    check(got == want + b"\n", f"{line}: {got}")


ask(b"SET before yes", b"OK")
listener = connect().makefile("rwb")
request(listener, b"SUBSCRIBE", b"news")
for _ in range(5):
    listener.readline()
for t in threads:
    t.start()
time.sleep(0.2)
ready_wait()
ask(b"GET before", b"yes")
ask(b"PUBLISH news now", b"1")
check([listener.readline() for _ in range(7)][-1] == b"now\r\n", "no news")
time.sleep(0.2)
stop.set()
for t in threads:
    t.join()
ask(b"GET all", b"%d" % sum(total))
check(min(total) > 1, f"counted {total}")
request(connect().makefile("rwb"), b"SHUTDOWN", b"NOSAVE")
check(server.wait() == 0, "redis ended badly")
ok()
