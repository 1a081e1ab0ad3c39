"""Makes processes with odd names, mappings and descriptors and copies their /proc files to testdata/proc.

Run as root on Linux 6.13 or later; the copies in the repository are of Linux 6.18.
"""
import ctypes, fcntl, os, select, signal, shutil, socket, struct, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = libc.mmap.restype = ctypes.c_long
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "proc")
ODD = b"/tmp/odd name\n\\012\\x (deleted)"
P, L = ctypes.c_void_p, ctypes.c_long


def call(*args):
    r = libc.syscall(*[L(a) if isinstance(a, int) else a for a in args])
    if r == -1:
        print("syscall", args, os.strerror(ctypes.get_errno()))
    return r


def keep(pid, name, to):
    with open(f"/proc/{pid}/{name}", "rb") as f:
        data = f.read()
    path = os.path.join(HERE, to)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def mmap(length, prot, flags, fd=-1, off=0, addr=0):
    return call(9, addr, length, prot, flags, fd, off)


def name(addr, length, text):
    call(157, 0x53564D41, 0, addr, length, ctypes.c_char_p(text))


def mappings():
    """One mapping of every kind, a hole between each two."""
    R, RW, PRIV, SH, ANON = 1, 3, 2, 1, 0x20
    base = 0x10000000000

    def at(length=8192, prot=RW, flags=PRIV | ANON, fd=-1, off=0, advice=None):
        nonlocal base
        a = mmap(length, prot, flags | 0x100000, fd, off, base)
        base += length + 0x100000
        if advice is not None:
            call(28, a, length, advice)
        return a

    fd = os.open(ODD, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 20)
    at(flags=PRIV, fd=fd, off=4096)
    at(flags=SH, fd=fd)
    at(prot=R, flags=SH, fd=os.open(ODD, os.O_RDONLY))
    gone = os.open(b"/tmp/gone", os.O_RDWR | os.O_CREAT)
    os.ftruncate(gone, 8192)
    os.unlink(b"/tmp/gone")
    at(flags=SH, fd=gone)
    mem = os.memfd_create("a memfd")
    os.ftruncate(mem, 8192)
    at(flags=SH, fd=mem)
    at(flags=SH | ANON)
    name(at(), 8192, b"odd name: #1 / (deleted)")
    name(at(flags=SH | ANON), 8192, b"shared")
    shm = call(29, 0x1234, 8192, 0o1600)  # shmget
    call(30, shm, 0x1ff00000000, 0)  # shmat
    call(31, shm, 0, 0)  # shmctl IPC_RMID
    at(flags=PRIV | ANON | 0x100)  # MAP_GROWSDOWN
    call(149, at(), 8192)  # mlock
    call(325, at(), 8192, 1)  # mlock2(MLOCK_ONFAULT)
    for advice in (1, 2, 10, 12, 14, 15, 16, 18):
        at(advice=advice)
    at(flags=PRIV | ANON | 0x4000)  # MAP_NORESERVE
    at(flags=8 | ANON)  # MAP_DROPPABLE
    at(advice=102)  # MADV_GUARD_INSTALL
    call(462, at(), 8192, 0)  # mseal
    at(2 << 20, flags=PRIV | ANON | 0x40000)  # MAP_HUGETLB
    uffd = call(323, 1)
    fcntl.ioctl(uffd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))
    for mode in (1, 2):
        fcntl.ioctl(uffd, 0xC020AA00, struct.pack("QQQQ", at(), 8192, mode, 0))
    at(prot=0)


def descriptors():
    """One descriptor of every kind; returns them by name."""
    fds = {}
    fd = os.open(ODD, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    os.lseek(fd, 77, 0)
    fds["regular"] = fd
    for what, cmd, kind, start, length in (("posix", 6, 1, 10, 5), ("posix", 6, 0, 100, 0), ("ofd", 37, 1, 1, 1)):
        fd = fds.setdefault(what, os.open(b"/tmp/locked-" + what.encode(), os.O_RDWR | os.O_CREAT))
        fcntl.fcntl(fd, cmd, struct.pack("hhqqi4x", kind, 0, start, length, 0))
    fds["flock"] = os.open(b"/tmp/locked-flock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fds["flock"], fcntl.LOCK_EX)
    fds["lease"] = os.open(b"/tmp/locked-lease", os.O_RDONLY | os.O_CREAT)
    fcntl.fcntl(fds["lease"], 1024, 0)
    fds["eventfd"] = os.eventfd(0, os.EFD_SEMAPHORE)
    os.eventfd_write(fds["eventfd"], 0xFFFFFFFFFFFFFFFE)
    fds["eventfd-small"] = os.eventfd(11)
    mask = ctypes.c_uint64(1 << 9 | 1 << 63)
    fds["signalfd"] = call(289, -1, ctypes.byref(mask), 8, 0)
    fds["timerfd"] = call(283, 1, 0)
    spec = (ctypes.c_long * 4)(5, 6, 1000000, 7)
    call(286, fds["timerfd"], 0, ctypes.byref(spec), None)
    fds["timerfd-abs"] = call(283, 0, 0)
    spec = (ctypes.c_long * 4)(0, 1000, int(time.time()) + 1000000, 0)
    call(286, fds["timerfd-abs"], 3, ctypes.byref(spec), None)
    fds["epoll"] = call(291, 0)
    a, b = socket.socketpair()
    for n, (t, ev, data) in enumerate(((a.detach(), 0x80000001, 0xFFFFFFFFFFFFFFFF), (b.detach(), 0x40000004, 5), (fds["eventfd"], 1, 9))):
        call(233, fds["epoll"], 1, t, ctypes.c_char_p(struct.pack("<IQ", ev, data)))
    fds["epoll-empty"] = call(291, 0)
    fds["inotify"] = call(294, 0)
    call(254, fds["inotify"], ctypes.c_char_p(ODD), 0xFFF)
    call(254, fds["inotify"], ctypes.c_char_p(b"/proc"), 0x2)
    fds["pidfd"] = os.pidfd_open(os.getpid())
    fds["pipe"] = os.pipe()[0]
    fds["socket"] = socket.socket(socket.AF_INET).detach()
    fds["tty"] = os.openpty()[0]
    return fds


def timers():
    ids = ctypes.c_int()
    tid = threading.get_native_id()
    for clock, sig, notify, target, value in (
        (1, 34, 0, 0, 0xDEADBEEF01020304), (0, 0, 1, 0, 0), (7, 10, 4, tid, 1), (2, 14, 0, 0, 2), (3, 14, 0, 0, 3), (1, 12, 2, 0, 4)):
        ev = struct.pack("<QiiI", value, sig, notify, target).ljust(64, b"\0")
        call(222, clock, ctypes.c_char_p(ev), ctypes.byref(ids))


def child(fn):
    """Forks a process that runs fn, says so, and waits to be killed."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fn(lambda text="": os.write(w, (str(text) + "\n").encode()))
        except BaseException as e:
            print("child:", repr(e))
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        return pid, f.readline().strip()


def odd(ready):
    os.umask(0o27)
    os.setgroups([5, 7, 4294967294])
    mappings()
    fds = descriptors()
    timers()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *a: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [64])
    threading.Thread(target=signal.pause, daemon=True).start()
    os.kill(os.getpid(), 64)
    os.fork() or signal.pause()
    os.fork() or signal.pause()
    libc.prctl(15, b"a) R 1 (\n\\n\xffb\tc", 0, 0, 0)
    ready(",".join(f"{k}={v}" for k, v in fds.items()))
    signal.pause()


def nested(ready):
    call(272, 0x20000000 | 0x80)  # unshare NEWPID|NEWTIME
    with open("/proc/self/timens_offsets", "w") as f:
        f.write("monotonic -50 999999999\nboottime 86400 1\n")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.pause()
    time.sleep(0.2)
    ready(pid)
    signal.pause()


def mounts(ready):
    call(272, 0x20000)
    call(165, ctypes.c_char_p(b"none"), ctypes.c_char_p(b"/"), None, 0x4C000, None)
    os.makedirs(b"/tmp/m \n\\t#\t", exist_ok=True)
    call(165, ctypes.c_char_p(b"a #\\source"), ctypes.c_char_p(b"/tmp/m \n\\t#\t"), ctypes.c_char_p(b"tmpfs"), 0, None)
    ready()
    signal.pause()


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    pid, fds = child(odd)
    for f in ("maps", "smaps", "stat", "status", "timers", "comm", "cmdline", "personality", "timens_offsets", "auxv"):
        keep(pid, f, "odd/" + f)
    with open(os.path.join(HERE, "odd/pid"), "w") as f:
        f.write(str(pid))
    keep(pid, f"task/{pid}/children", "odd/children")
    tid = [t for t in os.listdir(f"/proc/{pid}/task") if int(t) != pid][0]
    keep(pid, f"task/{tid}/stat", "thread/stat")
    keep(pid, f"task/{tid}/status", "thread/status")
    for kv in fds.split(","):
        k, v = kv.split("=")
        keep(pid, "fdinfo/" + v, "odd/fdinfo/" + k)
    kids = [int(k) for k in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    os.kill(kids[0], 9)
    time.sleep(0.2)
    keep(kids[0], "stat", "zombie/stat")
    keep(kids[0], "status", "zombie/status")
    os.kill(kids[1], 9)
    os.kill(pid, 9)
    pid, inner = child(nested)
    for f in ("stat", "status", "timens_offsets"):
        keep(inner, f, "nested/" + f)
    os.kill(int(inner), 9)
    os.kill(pid, 9)
    pid, _ = child(mounts)
    keep(pid, "mountinfo", "mounts/mountinfo")
    os.kill(pid, 9)
    for f in ("stat", "status", "maps", "smaps", "cmdline"):
        keep(2, f, "kthreadd/" + f)
    for f in os.listdir("/tmp"):
        if f.startswith(("odd name", "locked-", "m \n")):
            (os.rmdir if os.path.isdir("/tmp/" + f) else os.unlink)("/tmp/" + f)


main()
