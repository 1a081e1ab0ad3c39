# talkto: says so many lines (argument 3) to a talker, some a second, and checks
# the answers.
import socket
import sys
import time

conn = socket.create_connection((sys.argv[1], int(sys.argv[2])))
conn.settimeout(60)
answers = conn.makefile()
for n in range(1, int(sys.argv[3]) + 1):
    conn.sendall(b"line %d\n" % n)
    answer = answers.readline()
    if answer != f"{n} line {n}\n":
        sys.exit(f"answer to line {n}: {answer!r}")
    time.sleep(0.02)
