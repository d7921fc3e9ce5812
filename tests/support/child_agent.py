"""Run the agent in a child process, without SSH: for tests and the bench."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from replicator.errors import ChannelLost
from replicator.ports import Address
from replicator.transport import stream
from replicator.transport.bundle import LOADER, agent_code
from replicator.transport.failures import start_failure

_READ_SIZE = 1 << 18

_LAST_WORDS = 2.0
"""Seconds to wait for a child to exit after it has closed its output without a marker."""


class LocalConnector:
    """Starts agents as children of this process.

    Args:
        python: path of the interpreter.
        pin_root: directory that the agents must not leave; None: any.
        code: code for the loader instead of the agent's, from `bundle.pack`.
    """

    def __init__(
        self,
        *,
        python: str = sys.executable,
        pin_root: str | None = None,
        code: bytes | None = None,
    ) -> None:
        self._python = python
        self._code = agent_code(pin_root) if code is None else code

    async def connect(
        self, address: Address, identity: str = ""
    ) -> LocalChannel:  # no host key to check
        """Start an agent; see `ports.Connector`."""
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            self._python, "-I", "-S", "-c", LOADER, stdin=pipe, stdout=pipe, stderr=pipe
        )
        channel = LocalChannel(child)
        try:
            await channel.write(self._code)
            noise, rest = await stream.after_marker(channel.read, address.host)
        except BaseException:
            await channel.close()
            raise
        if rest is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await channel.ended()  # wait, so that it exits with its own status
            await channel.close()
            raise start_failure(
                address.host, child.returncode, channel.diagnosis() or stream.said(noise)
            )
        channel.unread = rest
        return channel


class LocalChannel:
    """A channel to a child process; see `ports.Channel`.

    Attributes:
        pid: process id of the child.
        unread: bytes that the next `read` returns first.
    """

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.pid = child.pid
        self.unread = b""
        self._child = child
        self._errors = stream.Errors()
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        assert self._child.stdout is not None  # we asked for a pipe
        return await self._child.stdout.read(_READ_SIZE)

    async def write(self, data: bytes) -> None:
        """Write, and wait while too much is queued."""
        assert self._child.stdin is not None  # we asked for a pipe
        try:
            self._child.stdin.write(data)
            await self._child.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ChannelLost(f"the agent has ended: {self.diagnosis() or error}") from error

    def diagnosis(self) -> str:
        """Return what the agent printed on its error stream."""
        return self._errors.said()

    async def ended(self) -> None:
        """Wait until the child has exited and its error output has been read."""
        await self._child.wait()
        await self._listener

    async def close(self) -> None:
        """Kill the child, and wait for its exit."""
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
        assert self._child.stdin is not None  # we asked for a pipe
        self._child.stdin.close()
        with suppress(ConnectionError):
            await self._child.stdin.wait_closed()
        await self.ended()

    async def _listen(self) -> None:
        assert self._child.stderr is not None  # we asked for a pipe
        while data := await self._child.stderr.read(_READ_SIZE):
            self._errors.add(data)
