"""Network failures: a host behind a cable that can be unplugged, and a proxy that is slow or stops.

A cable needs root: it is a pair of virtual interfaces (veth) into a separate network namespace.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import PROJECT
from tests.support.sshd import Sshd
from tests.support.tools import find, missing

_numbers = itertools.count(1)
PORT = 2222


class Cable:
    """A network namespace that acts as a host at the other end of a cable.

    Attributes:
        address: address of that host.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0 or not find("ip"):
            missing("network namespaces, which need root and ip(8)")
        number = next(_numbers)
        self.name = f"rt{os.getpid()}n{number}"
        self.near, self.far = (
            f"rt{os.getpid() % 100_000}a{number}",
            f"rt{os.getpid() % 100_000}b{number}",
        )
        net = f"10.{200 + os.getpid() % 50}.{number}"
        self.address = f"{net}.2"
        try:
            self.ip("netns", "add", self.name)
            self.ip(
                "link",
                "add",
                self.near,
                "type",
                "veth",
                "peer",
                "name",
                self.far,
                "netns",
                self.name,
            )
            self.ip("address", "add", f"{net}.1/24", "dev", self.near)
            self.ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", self.far)
            self.ip("link", "set", self.near, "up")
            self.ip("-n", self.name, "link", "set", "lo", "up")
            self.ip("-n", self.name, "link", "set", self.far, "up")
        except BaseException:
            self.remove()
            raise

    def pull(self) -> None:
        """Drop all packets in both directions from now on, without any error to the peers."""
        self.ip("-n", self.name, "link", "set", self.far, "down")
        self.ip(
            "neighbor", "replace", self.address, "lladdr", "02:00:00:00:00:01", "dev", self.near
        )

    def plug(self) -> None:
        """Transmit packets again."""
        self.ip("-n", self.name, "link", "set", self.far, "up")
        self.ip("neighbor", "delete", self.address, "dev", self.near)

    def remove(self) -> None:
        for command in (["link", "delete", self.near], ["netns", "delete", self.name]):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.ip(*command)

    @staticmethod
    def ip(*arguments: str) -> None:
        subprocess.run([find("ip"), *arguments], check=True, capture_output=True)


class RemoteSshd(Sshd):
    """An SSH server at the other end of a cable, with its own content below a directory."""

    def __init__(self, directory: Path, cable: Cable, **options) -> None:
        self._cable = cable
        super().__init__(directory, address=cable.address, **options)
        self.port = PORT

    def _command(self, config):
        return [find("ip"), "netns", "exec", self._cable.name, *super()._command(config)]


class Line:
    """A TCP proxy to a server, in a child process; it can be slow, be stopped, and be killed.

    Args:
        server: the server.
        rate: bytes per second in each direction; 0: no limit.
    """

    def __init__(self, server, rate=0) -> None:
        self.address = server.address
        command = [
            sys.executable,
            "-m",
            "tests.support.faults",
            self.address,
            str(server.port),
            str(rate),
        ]
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=PROJECT
        )
        self.port = int(self._child.stdout.readline())  # when it listens

    @property
    def frontend(self):
        return f"{self.address}:{self.port}"

    def known_hosts_line(self, server):
        return server.known_hosts_line().replace(f":{server.port}", f":{self.port}")

    def stall(self) -> None:
        """Stop the proxy process (SIGSTOP): connections stay open, and the kernel still accepts new ones."""
        self._child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()


async def _carry(reader, writer, rate):
    """Copy bytes from reader to writer at `rate`, at most 0.1 s ahead of it."""
    begun, carried = time.monotonic(), 0
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(max(1024, rate // 20) if rate else 1 << 16):
            writer.write(data)
            await writer.drain()
            carried += len(data)
            if rate:
                begun = max(begun, time.monotonic() - carried / rate - 0.1)
                await asyncio.sleep(max(0.0, begun + carried / rate - time.monotonic()))
    writer.close()


async def _main(address, target, rate):
    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(address, target)
        await asyncio.gather(_carry(reader, far_writer, rate), _carry(far_reader, writer, rate))

    # Small buffers: otherwise megabytes would pass at full speed into them.
    server = await asyncio.start_server(connected, address, 0, limit=1 << 14)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *map(int, sys.argv[2:])))
