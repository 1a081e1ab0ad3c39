"""A server that everybody knows (argument 3), with clients in the tree that keep
their connections, and one that opens a new one each time.
`service.py ask NAME HOST PORT N` is the client that is outside."""
import base64, http.client, os, signal, socket, struct, subprocess, sys, threading, time

DIR = os.getcwd()
LOGS = os.path.dirname(sys.argv[1]) or os.environ["TMPDIR"]


def write(name, text):
    with open(name, "w") as f:
        f.write(text)
    return os.path.join(DIR, name)


def receive(f, n):
    got = f.read(n)
    assert len(got) == n, f"only {got!r}"
    return got


class Lines:
    """Sends back each line."""

    def __init__(self, host, port):
        self.s = socket.create_connection((host, port), 30)
        self.f = self.s.makefile("rwb")

    def talk(self, n):
        text = b"line %d\n" % n
        self.f.write(text)
        self.f.flush()
        got = self.f.readline()
        assert got == text, f"{got!r} after {text!r}"


class UnixLines(Lines):
    def __init__(self, host, port):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect("in.sock")
        self.f = self.s.makefile("rwb")


class Page:
    """Gets a page, over one connection."""

    def __init__(self, host, port):
        self.c = http.client.HTTPConnection(host, port, timeout=30)
        self.c.connect()
        self.c.auto_open = False

    def talk(self, n):
        self.c.request("GET", f"/page.txt?{n}")
        r = self.c.getresponse()
        body = r.read()
        assert r.status == 200 and body == PAGE.encode(), f"{r.status}: {body[:80]!r}, {len(body)} bytes"


PAGE = "a page of text\n" * 5000


class Memcached(Lines):
    def talk(self, n):
        key = b"k%d/%d" % (os.getpid(), threading.get_ident())
        self.f.write(b"set %s 0 0 5\r\n%05d\r\nget %s\r\n" % (key, n % 100000, key))
        self.f.flush()
        got = [self.f.readline() for _ in range(4)]
        assert got[2] == b"%05d\r\n" % (n % 100000), got


class Postgres:
    def __init__(self, host, port):
        self.p = subprocess.Popen(["psql", "-XAtq", "-h", host, "-p", str(port), "-U", "me", "-d", "postgres"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        self.talk(0, "create temp table t (n int)")

    def talk(self, n, first=None):
        first = first or f"begin; insert into t values ({n}); select max(n) from t; commit"
        self.p.stdin.write(f"{first}; select {n} + 1;\n".encode())
        self.p.stdin.flush()
        if "begin" in first:
            got = self.p.stdout.readline()
            assert got == b"%d\n" % n, got
        got = self.p.stdout.readline()
        assert got == b"%d\n" % (n + 1), got

    def __del__(self):
        self.p.stdin.close()
        self.p.wait()


class Mosquitto:
    """Hears what it publishes."""

    def __init__(self, host, port):
        self.s = socket.create_connection((host, port), 30)
        self.f = self.s.makefile("rwb")
        self.topic = b"t/%d/%d" % (os.getpid(), threading.get_ident())
        self.send(0x10, b"\0\x04MQTT\x04\x02\0\x3c" + struct.pack(">H", len(self.topic)) + self.topic)
        assert receive(self.f, 4) == b"\x20\2\0\0"
        self.send(0x82, b"\0\1" + struct.pack(">H", len(self.topic)) + self.topic + b"\0")
        assert receive(self.f, 5) == b"\x90\3\0\1\0"

    def send(self, kind, body):
        self.f.write(bytes([kind, len(body)]) + body)
        self.f.flush()

    def talk(self, n):
        body = struct.pack(">H", len(self.topic)) + self.topic + b"%d" % n
        self.send(0x30, body)
        got = receive(self.f, 2 + len(body))
        assert got[2:] == body, got


class Rsync:
    def __init__(self, host, port):
        self.url = f"rsync://{host}:{port}/pages/page.txt"

    def talk(self, n):
        to = f"{LOGS}/got-{os.getpid()}-{threading.get_ident()}"
        subprocess.run(["rsync", "-q", "-T", LOGS, self.url, to], check=True, timeout=30)
        with open(to) as f:
            assert f.read() == PAGE, "another page"
        os.remove(to)


class WebSocket:
    """Echoes frames."""

    def __init__(self, host, port):
        self.s = socket.create_connection((host, port), 30)
        self.f = self.s.makefile("rwb")
        self.f.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: %s\r\n\r\n" % base64.b64encode(os.urandom(16)))
        self.f.flush()
        assert b" 101 " in self.f.readline()
        while self.f.readline() != b"\r\n":
            pass

    def talk(self, n):
        text = b"frame %d" % n
        self.f.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        self.f.flush()
        got = receive(self.f, 2 + len(text))
        assert got[2:] == text, got


def nginx(host, port):
    return ["nginx", "-e", "stderr", "-p", DIR, "-c", write("nginx.conf", f"""
daemon off; pid nginx.pid; worker_processes 2; error_log stderr;
events {{ worker_connections 64; }}
http {{ access_log access.log; keepalive_requests 1000000; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
uwsgi_temp_path t4; scgi_temp_path t5; server {{ listen {host}:{port}; location / {{ root {DIR}; }} }} }}""")]


def haproxy(host, port):
    behind = subprocess.Popen(memcached(host, port + 1))
    others.append(behind)
    return ["haproxy", "-db", "-f", write("haproxy.cfg", f"""
global
  maxconn 64
  stats socket {DIR}/stats level admin
defaults
  mode tcp
  timeout connect 20s
  timeout client 60s
  timeout server 60s
frontend f
  bind {host}:{port}
  default_backend b
backend b
  server s {host}:{port + 1} check
""")]


def memcached(host, port):
    return ["memcached", "-l", host, "-p", str(port), "-m", "8", *(["-u", "nobody"] if os.getuid() == 0 else [])]


def mosquitto(host, port):
    return ["mosquitto", "-c", write("mosquitto.conf", f"listener {port} {host}\nallow_anonymous true\n")]


def rsync(host, port):
    return ["rsync", "--daemon", "--no-detach", f"--address={host}", f"--port={port}", "--config=" + write(
        "rsyncd.conf", f"use chroot = no\n[pages]\npath = {DIR}\nread only = yes\n")]


def postgres(host, port):
    drop, bin = [], "/usr/lib/postgresql/15/bin/"
    os.mkdir("data", 0o700)
    if os.getuid() == 0:
        os.chown("data", 65534, 65534)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    subprocess.run(drop + [bin + "initdb", "-D", "data", "-A", "trust", "-U", "me", "-N"], check=True, stdout=subprocess.DEVNULL)
    return drop + [bin + "postgres", "-D", DIR + "/data", "-h", host, "-p", str(port), "-c", f"unix_socket_directories={DIR}/data", "-c", "fsync=off"]


def chain(host, port):
    others.append(subprocess.Popen(["socat", f"UNIX-LISTEN:{DIR}/in.sock,fork,mode=777", "EXEC:cat"]))
    return ["socat", f"TCP-LISTEN:{port},bind={host},reuseaddr,fork", f"UNIX-CONNECT:{DIR}/in.sock"]


def netcat(host, port):
    os.mkfifo("there")
    os.mkfifo("back")
    others.append(subprocess.Popen(["sh", "-c", "exec cat < there > back"]))
    return ["sh", "-c", "exec nc -klU in.sock > there < back"]


SERVICES = {
    "nginx": (nginx, Page),
    "haproxy": (haproxy, Memcached),
    "mosquitto": (mosquitto, Mosquitto),
    "rsync": (rsync, Rsync),
    "postgres": (postgres, Postgres),
    "socat": (chain, Lines),
    "netcat": (netcat, UnixLines),
    "websocket": (lambda host, port: [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "websocket.py"), host, str(port)], WebSocket),
}
others = []

if sys.argv[1] == "ask":
    _, client = SERVICES[sys.argv[2]]
    c = client(sys.argv[3], int(sys.argv[4]))
    for n in range(3):
        c.talk(int(sys.argv[5]) + n)
    sys.exit(0)

from prog import *

name = sys.argv[3]
server, client = SERVICES[name]
with socket.socket() as s:
    s.bind((HOST, 0))
    port = s.getsockname()[1]
write("page.txt", PAGE)
running = subprocess.Popen(server(HOST, port), stdout=subprocess.DEVNULL)
deadline = time.time() + 30
while True:
    try:
        client(HOST, port).talk(0)
        break
    except (OSError, AssertionError, subprocess.SubprocessError) as e:
        check(time.time() < deadline and running.poll() is None, f"{name} does not answer: {e!r}, {running.poll()}")
        time.sleep(0.1)
if name == "netcat":
    time.sleep(0.2)  # it serves one at a time
write("at", f"{HOST} {port}")
stop, counts = threading.Event(), []


def keeps():
    c, n = client(HOST, port), 0
    while not stop.is_set():
        n += 1
        try:
            c.talk(n)
        except Exception as e:
            fail(f"{name}: exchange {n}: {e!r}")
        time.sleep(0.001)
    counts.append(n)


def comes():
    n = 0
    while not stop.is_set():
        n += 1
        try:
            client(HOST, port).talk(n)
        except Exception as e:
            fail(f"{name}: visit {n}: {e!r}")
        time.sleep(0.05)
    counts.append(n)


threads = [threading.Thread(target=f) for f in ([keeps] if name == "netcat" else [keeps, keeps, comes])]
for t in threads:
    t.start()
time.sleep(0.3)
ready_wait()
time.sleep(0.3)
stop.set()
for t in threads:
    t.join()
check(min(counts) > 3, f"only {counts}")
for p in [running, *others]:
    p.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    p.wait()
ok()
