"""sshd and clients in one tree. Root has a shell on a terminal at the other side, an
ordinary user, whose shell may be nologin, a channel to an echoing server."""
import os, pwd, signal, socket, subprocess, sys, threading, time
from prog import *

DIR = os.path.join(os.path.dirname(GO), f"ssh-{os.getpid()}")
os.mkdir(DIR, 0o700)
if os.getuid() == 0:
    os.makedirs("/run/sshd", exist_ok=True)
for key in "host", "mine":
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{DIR}/{key}"], check=True)
PAM = "no" if os.getuid() == 0 else "yes"  # without it, an account that has no password is taken for a locked one
with open(f"{DIR}/config", "w") as f:
    f.write(f"HostKey {DIR}/host\nAuthorizedKeysFile {DIR}/mine.pub\nPidFile none\nUsePAM {PAM}\nStrictModes no\nPermitRootLogin yes\n")
with socket.socket() as s:
    s.bind((HOST, 0))
    port = s.getsockname()[1]
server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", f"{DIR}/config", "-o", f"ListenAddress={HOST}:{port}"], stderr=subprocess.DEVNULL)
for _ in range(400):
    try:
        socket.create_connection((HOST, port)).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.05)

echo = socket.create_server((HOST, 0))


def echoes(conn):
    while b := conn.recv(65536):
        conn.sendall(b)
    conn.close()


def accepts():
    while True:
        threading.Thread(target=echoes, args=(echo.accept()[0],), daemon=True).start()


threading.Thread(target=accepts, daemon=True).start()


def ssh(*words):
    return subprocess.Popen(["ssh", "-F", "none", "-p", str(port), "-i", f"{DIR}/mine", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
                             "-o", f"UserKnownHostsFile={DIR}/known", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Channel:
    def __init__(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            self.p = ssh("-tt", f"{user}@{HOST}", "stty -echo -opost; exec sh")
            self.p.stdin.write(b"PS1=; n=0; says() { n=$((n+1)); echo $n $1; }; echo there is $(tty)\n")
            self.p.stdin.flush()
            while b"there is /dev/pts/" not in (line := self.p.stdout.readline()):
                check(line, "no shell")
        else:
            self.p = ssh("-W", "%s:%d" % echo.getsockname(), f"{user}@{HOST}")
        self.n = 0

    def talk(self):
        self.n += 1
        want = b"%d line%d\n" % (self.n, self.n)
        self.p.stdin.write(b"says line%d\n" % self.n if os.getuid() == 0 else want)
        self.p.stdin.flush()
        got = self.p.stdout.readline()
        check(got == want, f"{got} instead of {want}")

    def runs(self):
        while not stop.is_set():
            self.talk()
            time.sleep(0.001)


stop = threading.Event()
busy, idle = Channel(), Channel()
idle.talk()
worker = threading.Thread(target=busy.runs)
worker.start()
time.sleep(0.2)
ready_wait()
time.sleep(0.2)
idle.talk()
stop.set()
worker.join()
check(busy.n > 10, f"only {busy.n} lines")
for c in busy, idle:
    c.p.stdin.write(b"exit 0\n" if os.getuid() == 0 else b"")
    c.p.stdin.close()
    check(c.p.wait() == 0, f"ssh ended with {c.p.returncode}")
server.terminate()
server.wait()
ok()
