"""A way that takes longer: a proxy before each frontend that holds every byte back for a while, in each direction.

For machines whose kernel cannot do it (netem). It delays, and limits nothing else: what is on the way is kept whole.
Run as a process of its own: `python -m bench.stage.distance MILLISECONDS HOST:PORT...` prints the ports on 127.0.0.1 that stand for
them, in order, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import selectors
import sys

CHUNK = 1 << 18


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Carry one direction: what comes in goes out `delay` seconds later."""
    loop = asyncio.get_running_loop()
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await held.get()
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            held.put_nowait((loop.time() + delay, data))
        held.put_nowait((loop.time() + delay, b""))
        await delivery
    except OSError:  # somebody hung up: so does the other
        delivery.cancel()
        writer.close()


async def serve(delay: float, hosts: list[tuple[str, int]]) -> None:
    """Serve until standard input ends.

    Args:
        delay: seconds, each way.
        hosts: address and port of each.
    """
    ports = []
    for address, port in hosts:

        async def meet(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: tuple[str, int] = (address, port)
        ) -> None:  # fmt: skip
            far_reader, far_writer = await asyncio.open_connection(*there, limit=1 << 20)
            await asyncio.gather(
                _carry(reader, far_writer, delay), _carry(far_reader, writer, delay)
            )
            for end in (writer, far_writer):
                end.close()

        server = await asyncio.start_server(meet, "127.0.0.1", 0, limit=1 << 20)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _exact_loop() -> asyncio.AbstractEventLoop:
    """A loop that wakes up to the microsecond: epoll, and uvloop's clock, know milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    where = [host.rpartition(":") for host in sys.argv[2:]]
    with asyncio.Runner(loop_factory=_exact_loop) as runner:
        hosts = [(address, int(port)) for address, _, port in where]
        runner.run(serve(float(sys.argv[1]) / 1000, hosts))
