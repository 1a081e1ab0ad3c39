"""Uses files and sockets that are called otherwise after each restart, as a
plugin says. The n-th file GO-n says what they are called then."""
import ctypes, json, mmap, socket
from prog import *

libc = ctypes.CDLL(None, use_errno=True)


def expected(n):
    path = f"{GO}-{n}"
    while not os.path.exists(path) and not went():
        time.sleep(0.02)
    with open(path) as f:
        return json.load(f)


def end(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def shown(fd):
    return os.readlink(f"/proc/self/fd/{fd}")


def mapped(name):
    with open("/proc/self/maps") as f:
        return [line.split()[5] for line in f if line.rstrip().endswith("/" + name)]


e = expected(0)
os.chdir(e["dir"])
with open("data", "w") as f:
    f.write("0123456789" * 1000)
os.mkdir("sub")
with open("shared", "wb") as f:
    f.write(bytes(4096))
data = open("data", "r+b", buffering=0)
data.seek(7)
log = open("sub/log", "a")
directory = os.open("sub", os.O_RDONLY | os.O_DIRECTORY)
place = os.open("data", os.O_PATH)
os.mkfifo("fifo")
fifo = os.open("fifo", os.O_RDWR)
os.write(fifo, b"queued")
private = mmap.mmap(data.fileno(), 8192, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
shared = mmap.mmap(os.open("shared", os.O_RDWR), 4096)
private[0] = ord("x")
watch = libc.inotify_init1(os.O_NONBLOCK)
check(libc.inotify_add_watch(watch, b"sub", 0x100) == 1, "inotify_add_watch")  # IN_CREATE

served = socket.socket(socket.AF_UNIX)
served.bind(os.path.join(e["dir"], "served"))
served.listen()
caller = socket.create_connection(end(e["server"]))
called = socket.socket(socket.AF_UNIX)
called.connect(e["path"])
listener = socket.create_server(end(e["own"]))
client = socket.create_connection(end(e["own"]))
accepted, _ = listener.accept()
client.sendall(b"in flight")
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(end(e["udp"]))
datagrams.connect(end(e["udp_peer"]))


def look(e, first):
    for fd, name in ((data.fileno(), "data"), (log.fileno(), "sub/log"), (directory, "sub"), (place, "data"), (fifo, "fifo")):
        check(shown(fd) == f"{e['dir']}/{name}", f"{name} is {shown(fd)}")
    check(os.getcwd() == e["dir"], os.getcwd())
    for name in ("data", "shared"):
        check(set(mapped(name)) == {f"{e['dir']}/{name}"}, f"mapped: {mapped(name)}")
    check(data.tell() == 7 and private[:3] == b"x12", f"{data.tell()} {private[:3]}")
    n = shared[0] + 1
    shared[0] = n
    with open(e["dir"] + "/shared", "rb") as f:
        check(f.read(1) == bytes([n]), "the shared mapping is not of the new file")
    name = f"sub/made{n}"
    open(name, "w").close()
    check(os.read(watch, 100)[16:].rstrip(b"\0") == name[4:].encode(), "the watch is of another directory")
    check(os.read(fifo, 100) == b"queued" and os.write(fifo, b"queued") == 6, "fifo")

    check(served.getsockname() == e["dir"] + "/served", served.getsockname())
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(e["dir"] + "/served")
        served.accept()[0].close()
    check(caller.getpeername() == end(e["server"]), caller.getpeername())
    check(called.getpeername() == e["path"], called.getpeername())
    for s in (caller, called):
        s.settimeout(20)
        s.sendall(b"ping")
        want = b"helloping"
        got = b""
        while len(got) < len(want):
            got += s.recv(len(want) - len(got)) or fail(f"{s} ends after {got}")
        check(got == want, f"{s}: {got}")
    check(listener.getsockname() == end(e["own"]), listener.getsockname())
    check(client.getpeername() == end(e["own"]) == accepted.getsockname(), f"{client} {accepted}")
    check(accepted.recv(100) == b"in flight", "nothing was in flight")
    client.sendall(b"in flight")
    with socket.create_connection(end(e["own"]), timeout=5):
        listener.accept()[0].close()
    check(datagrams.getsockname() == end(e["udp"]) and datagrams.getpeername() == end(e["udp_peer"]), datagrams)
    datagrams.send(f"generation {n}".encode())
    check(first or socket.gethostname() == e["hostname"], socket.gethostname())


n = 0
while not went():
    look(e, n == 0)
    say("ready" if n == 0 else f"round {n}")
    n += 1
    e = expected(n) if not went() else None
    if e is None or "end" in e:
        break
ok()
