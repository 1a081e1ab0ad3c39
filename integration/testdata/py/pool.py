"""multiprocessing: a pool, queues, a lock, a shared array, an event."""
import hashlib, multiprocessing as mp, time
from prog import *

ctx = mp.get_context("fork")
lock, total = ctx.Lock(), ctx.Value("q", 0, lock=False)
array = ctx.Array("d", 1000)
done = ctx.Event()
inbox, outbox = ctx.Queue(3), ctx.SimpleQueue()


def work(n):
    with lock:
        total.value += n
    return n, hashlib.sha256(b"%d" % n * 1000).hexdigest()


def fills():
    """Adds 1 everywhere, in turn with others, until it is told to stop."""
    while not done.is_set():
        with array.get_lock():
            seen = set(array)
            check(len(seen) == 1, f"array holds {len(seen)} values")
            for i in range(len(array)):
                array[i] += 1
        time.sleep(0.001)


def echoes():
    while (got := inbox.get()) is not None:
        outbox.put(got * 2)


others = [ctx.Process(target=f) for f in (fills, fills, echoes)]
for p in others:
    p.start()
pool = ctx.Pool(3)
asked, answered, summed = 0, 0, 0
say("ready")
while not went() or answered < 50:
    for n, digest in pool.imap(work, range(asked, asked + 20)):
        check(n == answered, f"pool gave {n}, want {answered}")
        check(digest == hashlib.sha256(b"%d" % n * 1000).hexdigest(), "a wrong digest")
        answered, summed = answered + 1, summed + n
    asked += 20
    inbox.put(asked)
    check(outbox.get() == 2 * asked, "the queue gave something else")
check(total.value == summed, f"total is {total.value}, want {summed}")
one = array[0]
time.sleep(0.1)
check(array[0] > one > 0, "no progress in the array")
done.set()
inbox.put(None)
for p in others:
    p.join(20)
    check(p.exitcode == 0, f"a process ended with {p.exitcode}")
pool.close()
pool.join()
ok()
