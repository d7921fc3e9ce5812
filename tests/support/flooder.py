"""An SSH server that sends the agent's marker and then floods the client: `python -m tests.support.flooder KIND`."""

import asyncio
import sys

import asyncssh
from asyncssh.packet import Boolean, String, UInt32

MARKER = b"\n\0REPLICATOR\0 agent ready\n"


def packets(kind, channel):
    """Return one packet of a flood as (SSH message number, *parts)."""
    number = UInt32(channel)
    name = String(b"x@example.org")
    return {
        "global-requests": (80, name, Boolean(True)),
        "silent-requests": (80, name, Boolean(False)),
        "ignored": (2, String(b"")),
        "debug": (4, Boolean(False), String(b"x"), String(b"")),
        "window": (93, number, UInt32(1)),
        "opens": (90, name, UInt32(7), UInt32(1 << 20), UInt32(1 << 15)),
        "channel-requests": (98, number, name, Boolean(True)),
        "no-data": (94, number, String(b"")),
        "crumbs": (94, number, String(b"x")),
        "errors": (95, number, UInt32(1), String(b"x")),
        "unknown": (192,),
    }[kind]


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False


async def flood(connection, kind, channel):
    if kind != "rekeys":
        connection._transport.pause_reading()  # leave the client's replies unread
    while not connection.is_closed() and connection._transport:
        for _ in range(100):
            if kind == "rekeys":
                connection._rekey_bytes_sent = connection._rekey_bytes
                connection.send_packet(2, String(b""))
                break
            connection.send_packet(*packets(kind, channel))
        while connection._transport and connection._transport.get_write_buffer_size() > 1 << 20:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


async def serve(kind):
    async def process(process):
        process.stdout.write(MARKER)
        await process.stdout.drain()
        if kind != "honest":
            channel = process.channel
            await flood(channel.get_connection(), kind, channel._send_chan)
        await process.stdin.read()

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=process,
        encoding=None,
        password_auth=False,
    )
    print(server.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
