"""A shell on a terminal inside the tree, as expect and script(1) have it."""
import fcntl, os, pty, re, select, struct, termios, time
from prog import *

pid, fd = pty.fork()
if pid == 0:
    os.environ["PS1"] = "$ "
    os.execv("/bin/sh", ["sh", "-i"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 91, 0, 0))
seen = b""


def expect(pattern, seconds=20):
    global seen
    end = time.monotonic() + seconds
    while not (m := re.search(pattern, seen)):
        check(time.monotonic() < end, f"no {pattern} in {seen[-300:]}")
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    seen = seen[m.end():]
    return m


os.write(fd, b"x=41; PS1='s'et; echo\n")  # what is echoed is not what is printed
expect(rb"\r\nset")
modes = termios.tcgetattr(fd)
ready_wait()
check(termios.tcgetattr(fd) == modes, f"modes {termios.tcgetattr(fd)}, were {modes}")
os.write(fd, b"echo got $((x+1)); stty size; tty; ps -o pid= -p $$ >/dev/null; echo $$\n")
expect(rb"got 42\r\n")
expect(rb"31 91\r\n")
expect(rb"/dev/pts/\d+\r\n")
expect(rb"\n?%d\r\n" % pid)
expect(rb"set")  # the prompt
os.write(fd, b"sleep 1000\n")
expect(rb"sleep 1000\r\n")
while os.tcgetpgrp(fd) == pid:
    time.sleep(0.01)
os.write(fd, b"\x03")  # interrupts the foreground group
expect(rb"set")
os.write(fd, b"exit 7\n")
while True:
    try:
        if not os.read(fd, 4096):
            break
    except OSError:
        break
check(os.waitpid(pid, 0)[1] == 7 << 8, "exit status of the shell")
ok()
