"""multiprocessing: a pool of workers, and a manager whose objects are used
over connections by several processes."""
import multiprocessing as mp, multiprocessing.managers, os, threading, time
from prog import *

mp.set_start_method("fork")


def square(n):
    return n * n, os.getpid()


def adds(shared, log, stop):
    while not stop.is_set():
        with lock:
            shared["sum"] = shared.get("sum", 0) + 1
        log.append(os.getpid())
        time.sleep(0.001)


lock = mp.Lock()
# Its usual place has too long a path for a socket in the directory of a test.
manager = mp.managers.SyncManager(address=(HOST, 0) if TCP else os.path.dirname(GO) + "/m")
manager.start()
with manager, mp.Pool(3) as pool:
    shared, log, stop = manager.dict(), manager.list(), manager.Event()
    workers = [mp.Process(target=adds, args=(shared, log, stop)) for _ in range(2)]
    for w in workers:
        w.start()
    halt = threading.Event()

    def uses():
        n = 0
        while not halt.is_set():
            got = pool.map(square, range(n, n + 20), chunksize=3)
            check([g[0] for g in got] == [i * i for i in range(n, n + 20)], "wrong squares")
            n += 20
        return n

    t = threading.Thread(target=uses)
    t.start()
    time.sleep(0.2)
    ready_wait()
    before = len(log)
    time.sleep(0.3)
    check(len(log) > before, "the manager's list stands still")
    check(len({g[1] for g in pool.map(square, range(1000))}) >= 1, "no workers")
    halt.set()
    t.join()
    stop.set()
    for w in workers:
        w.join()
        check(w.exitcode == 0, f"worker ended with {w.exitcode}")
    check(shared["sum"] == len(log), f"{shared['sum']} in the dict, {len(log)} in the list")
    check({w.pid for w in workers} == set(log), "other pids in the list")
    pool.close()
    pool.join()
ok()
