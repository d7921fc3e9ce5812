"""Networks that fail: a host behind a cable that can be pulled, and a line that is slow or stops.

Cables need root: each is a network namespace of its own with a pair of interfaces, made and removed here.
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
from tests.support.sshd import Sshd, free_port
from tests.support.tools import find, missing

_numbers = itertools.count(1)
PORT = 2222


class Cable:
    """A host of its own at the other end of a cable.

    Attributes:
        address: of that host.
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
            self._ip("netns", "add", self.name)
            self._ip(
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
            self._ip("address", "add", f"{net}.1/24", "dev", self.near)
            self._ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", self.far)
            self._ip("link", "set", self.near, "up")
            self._ip("-n", self.name, "link", "set", "lo", "up")
            self._ip("-n", self.name, "link", "set", self.far, "up")
        except BaseException:
            self.remove()
            raise

    def pull(self) -> None:
        """Lose every packet from now on, in both directions; nobody is told."""
        self._ip("-n", self.name, "link", "set", self.far, "down")
        self._ip(
            "neighbor", "replace", self.address, "lladdr", "02:00:00:00:00:01", "dev", self.near
        )

    def plug(self) -> None:
        """Carry packets again."""
        self._ip("-n", self.name, "link", "set", self.far, "up")
        self._ip("neighbor", "delete", self.address, "dev", self.near)

    def remove(self) -> None:
        for command in (["link", "delete", self.near], ["netns", "delete", self.name]):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._ip(*command)

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run([find("ip"), *arguments], check=True, capture_output=True)


class RemoteSshd(Sshd):
    """A server at the other end of a cable, with its own view of a directory."""

    def __init__(self, directory: Path, cable: Cable, **options) -> None:
        self._cable = cable
        super().__init__(directory, address=cable.address, **options)
        self.port = PORT

    def _command(self, config):
        return [find("ip"), "netns", "exec", self._cable.name, *super()._command(config)]


class Line:
    """A way to a server through a child process, which can be slow, stop, and be killed.

    Args:
        server: where it leads.
        rate: bytes per second in each direction; 0: as fast as it can.
    """

    def __init__(self, server, rate=0) -> None:
        self.address = server.address
        self.port = free_port(self.address)
        command = [
            sys.executable,
            "-m",
            "tests.support.faults",
            self.address,
            str(self.port),
            str(server.port),
            str(rate),
        ]
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=PROJECT
        )
        self._child.stdout.readline()  # it listens

    @property
    def frontend(self):
        return f"{self.address}:{self.port}"

    def known_hosts_line(self, server):
        return server.known_hosts_line().replace(f":{server.port}", f":{self.port}")

    def stall(self) -> None:
        """Carry nothing any more; connections stand, and new ones are taken by the kernel."""
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
    """Pass bytes on, never more than a tenth of a second's worth ahead of the rate."""
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


async def _main(address, port, target, rate):
    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(address, target)
        await asyncio.gather(_carry(reader, far_writer, rate), _carry(far_reader, writer, rate))

    # Small buffers: a slow line that hides megabytes in them is none.
    server = await asyncio.start_server(connected, address, port, limit=1 << 14)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *map(int, sys.argv[2:])))
