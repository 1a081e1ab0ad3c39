"""What the test programs in Python share; prog.h in Python."""
import os, sys, time

GO, LOG = sys.argv[1:3]


# Programs that are told to use TCP get an address that no other has.
TCP = "tcp" in sys.argv[3:]
HOST = "127.%d.%d.%d" % (128 | os.getpid() >> 16 & 127, os.getpid() >> 8 & 255, os.getpid() & 255)


def say(line):
    with open(LOG, "a") as f:
        f.write(line + "\n")


def fail(why):
    say("FAIL " + why)
    os._exit(1)


def check(cond, why):
    if not cond:
        fail(why)


def went():
    return os.path.exists(GO)


def ready_wait():
    say("ready")
    while not went():
        time.sleep(0.02)


def ok():
    say("ok")
    os._exit(0)


def _hook(kind, value, trace):
    while trace.tb_next:
        trace = trace.tb_next
    fail(f"{kind.__name__}: {value} (line {trace.tb_lineno})")


sys.excepthook = _hook
import threading

threading.excepthook = lambda a: _hook(a.exc_type, a.exc_value, a.exc_traceback)
