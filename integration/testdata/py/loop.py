"""asyncio: its self-pipe, a server with clients, a subprocess,
and signals that reach the loop over a socket."""
import asyncio, os, signal
from prog import *

PATH = os.path.dirname(GO) + "/s"
served = 0
signals = 0


async def serve(reader, writer):
    global served
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
        served += 1
    writer.close()


async def chat(name, stop):
    reader, writer = await (asyncio.open_connection(HOST, port) if TCP else asyncio.open_unix_connection(PATH))
    n = 0
    while not stop.is_set():
        writer.write(f"{name} {n}\n".encode() * (1 + n % 50))
        for _ in range(1 + n % 50):
            check(await reader.readline() == f"{name} {n}\n".upper().encode(), f"{name}: line {n}")
        n += 1
        await asyncio.sleep(0)
    writer.close()
    return n


def heard():
    global signals
    signals += 1


async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, heard)
    global port
    server = await (asyncio.start_server(serve, HOST, 0) if TCP else asyncio.start_unix_server(serve, PATH))
    port = TCP and server.sockets[0].getsockname()[1]
    stop = asyncio.Event()
    chats = [asyncio.create_task(chat(f"client{i}", stop)) for i in range(5)]
    sub = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    sub.stdin.write(b"before\n")
    check(await sub.stdout.readline() == b"before\n", "subprocess")
    await asyncio.sleep(0.1)
    say("ready")
    while not went():
        await asyncio.sleep(0.02)
    before = served
    os.kill(os.getpid(), signal.SIGUSR1)
    sub.stdin.write(b"after\n")
    check(await sub.stdout.readline() == b"after\n", "subprocess after")
    sub.stdin.close()
    check(await sub.wait() == 0, "exit of the subprocess")
    late = asyncio.create_task(chat("late", stop))
    await asyncio.sleep(0.2)
    stop.set()
    for n in await asyncio.gather(late, *chats):
        check(n > 0, "a client that said nothing")
    check(served > before and signals == 1, f"{served} lines served, {before} before; {signals} signals")
    server.close()


asyncio.run(main())
TCP or os.unlink(PATH)
ok()
