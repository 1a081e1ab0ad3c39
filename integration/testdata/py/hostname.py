"""What programs ask of a host: under run --virtualize with virtual.rules."""
import platform, socket, subprocess, uuid
from prog import *

HOST = "old.example.org"


def asks():
    check(platform.node() == HOST, platform.node())
    check(socket.gethostname() == HOST, socket.gethostname())
    check(uuid.getnode() is not None, "no node")
    for command, want in (("hostname", HOST), ("uname -n", HOST), ("hostid", "12345678"),
                          ("cat /etc/machine-id", "0123456789abcdef0123456789abcdef"),
                          ("cat /proc/sys/kernel/random/boot_id", "01234567-89ab-cdef-0123-456789abcdef")):
        got = subprocess.run(command.split(), capture_output=True, text=True)
        check(got.stdout.strip() == want, f"{command}: {got}")
    server = socket.create_server(("192.0.2.1", 0))
    port = server.getsockname()
    check(port[0] == "192.0.2.1", port)
    with socket.create_connection(port, timeout=5) as client:
        check(client.getpeername() == port, client.getpeername())
    server.close()


asks()
ready_wait()
asks()
ok()
