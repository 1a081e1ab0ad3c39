"""A server of WebSockets that echoes frames of text, with asyncio alone."""
import asyncio, base64, hashlib, signal, sys


async def serve(reader, writer):
    key = b""
    while (line := await reader.readline()) not in (b"\r\n", b""):
        if line.lower().startswith(b"sec-websocket-key:"):
            key = line.split(b":", 1)[1].strip()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    try:
        while True:
            head = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            body = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(head[1] & 127)))
            writer.write(bytes([head[0], len(body)]) + body)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


asyncio.run(main())
