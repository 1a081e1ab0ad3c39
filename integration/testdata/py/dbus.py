"""dbus-daemon, with a client that listens and one that has a name."""
import os, subprocess, time
from prog import *

address = "unix:path=" + os.path.join(os.path.dirname(GO), f"bus{os.getpid()}")
daemon = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--nopidfile", "--address=" + address],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
ENV = {"PATH": "/usr/bin:/bin", "DBUS_SESSION_BUS_ADDRESS": address}


def send(*words):
    return subprocess.run(["dbus-send", "--bus=" + address, *words], env=ENV, capture_output=True, text=True)


def ask(method, *words):
    r = send("--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus." + method, *words)
    check(r.returncode == 0, f"{method}: {r.stderr}")
    return r.stdout


for _ in range(400):
    if send("--type=signal", "/there", "org.example.Ready").returncode == 0:
        break
    time.sleep(0.05)
listener = subprocess.Popen(["dbus-monitor", "--address", address, "interface='org.example.News'"], stdout=subprocess.PIPE, env=ENV)


def hears(text):
    for line in listener.stdout:
        if f'string "{text}"'.encode() in line:
            return
    fail("the listener has ended")


for i in range(400):  # until it listens
    send("--type=signal", "/", "org.example.News.First", "string:first")
    if b"string" in os.read(listener.stdout.fileno(), 65536):
        break
clients = ask("ListNames")
ready_wait()
check(ask("ListNames").count("string") == clients.count("string"), "the bus has other clients than before")
send("--type=signal", "/", "org.example.News.Again", "string:again")
hears("again")
listener.terminate()
listener.wait()
daemon.terminate()
daemon.wait()
ok()
