"""Four threads that compute, sleep, wait and talk to subprocesses."""
import hashlib, queue, random, subprocess, threading, time
from prog import *

stop = threading.Event()
steps = [0] * 4
work = queue.Queue(4)


def digest():
    return hashlib.sha256(b"x" * 100_000).hexdigest()


WANT = digest()


def computes():
    rnd = random.Random(7)
    want = [rnd.random() for _ in range(1000)]
    while not stop.is_set():
        rnd = random.Random(7)
        check([rnd.random() for _ in range(1000)] == want, "random numbers changed")
        check(digest() == WANT, "digest changed")
        steps[0] += 1


def produces():
    n = 0
    while not stop.is_set():
        work.put(n)
        n += 1
    work.put(None)


def consumes():
    n = 0
    while (got := work.get()) is not None:
        check(got == n, f"queue gave {got}, want {n}")
        n += 1
        steps[2] += 1
        time.sleep(0.001)


def talks():
    n = 0
    while not stop.is_set():
        cat.stdin.write(f"line {n}\n")
        cat.stdin.flush()
        check(cat.stdout.readline() == f"line {n}\n", "cat gave another line")
        n += 1
        steps[3] += 1
        time.sleep(0.002)


cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
sleeper = subprocess.Popen(["sleep", "1000"])
shell = subprocess.Popen(["sh", "-c", "read line; exit 23"], stdin=subprocess.PIPE)
threads = [threading.Thread(target=t) for t in (computes, produces, consumes, talks)]
for t in threads:
    t.start()
ready_wait()
before = list(steps)
end = time.monotonic() + 20
while any(steps[i] < before[i] + 3 for i in (0, 2, 3)):
    check(time.monotonic() < end, f"no progress: {before} to {steps}")
    time.sleep(0.005)
stop.set()
for t in threads:
    t.join(20)
    check(not t.is_alive(), "a thread hangs")
cat.stdin.close()
check(cat.wait(20) == 0, "cat")
shell.stdin.write(b"x\n")
shell.stdin.close()
check(shell.wait(20) == 23, "sh")
check(sleeper.poll() is None, "sleep ended by itself")
sleeper.terminate()
check(sleeper.wait(20) == -15, "sleep")
check(subprocess.run(["echo", "new"], capture_output=True).stdout == b"new\n", "a new subprocess")
ok()
