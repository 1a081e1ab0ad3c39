"""A pipeline of programs over socketpairs, as some shells make it: what flows
through it while a snapshot is taken comes out whole."""
import socket, subprocess, threading, time
from prog import *

FILTERS = [["sed", "-u", "s/^/x/"], ["stdbuf", "-o0", "tr", "a-z", "A-Z"], ["awk", "{ print NR, $0; fflush() }"], ["cat"], ["grep", "--line-buffered", "X"]]


def pipeline():
    into, end = socket.socketpair()
    programs = []
    for argv in FILTERS:
        near, far = socket.socketpair()
        programs.append(subprocess.Popen(argv, stdin=end, stdout=far))
        end.close()
        far.close()
        end = near
    return into, end, programs


def writes():
    n = 0
    while not stop.is_set():
        n += 1
        into.sendall(b"line %d\n" % n)
        if n % 500 == 0:
            time.sleep(0.001)
    into.shutdown(socket.SHUT_WR)
    written.append(n)


def reads():
    for line in out.makefile("rb"):
        read[0] += 1
        check(line == b"%d XLINE %d\n" % (read[0], read[0]), f"line {read[0]} is {line}")


into, out, programs = pipeline()
stop, written, read = threading.Event(), [], [0]
threads = [threading.Thread(target=f) for f in (writes, reads)]
for t in threads:
    t.start()
time.sleep(0.2)
ready_wait()
time.sleep(0.2)
stop.set()
for t in threads:
    t.join()
check(written == read and read[0] > 100, f"{written} lines in, {read} out")
for p in programs:
    check(p.wait() == 0, f"{p.args}: {p.returncode}")
ok()
