"""Run a program with a time limit: it is ended with everything that it has started in its process group."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from replicator.model import printable
from replicator.shortage import shortage

LINES = 50
"""Lines of output that are passed on from each run."""

LINE = 1000
"""Bytes of a line that are passed on."""

GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL."""


class HookFailed(Exception):  # not an error of this program
    """Raised when a run has failed; the text says why.

    Attributes:
        status: exit status, negative for a signal; None if it was not started, or was ended after its time limit.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


async def run(
    command: Sequence[str], data: bytes, seconds: float, output: Callable[[str], None]
) -> None:
    """Run a program, write `data` to its standard input, and wait until it and its process group have ended.

    Args:
        command: the program and its arguments; no shell is involved.
        data: its standard input.
        seconds: time limit.
        output: called with each line of its standard output and error.

    Raises:
        HookFailed: if it cannot be started, exits with another status than 0, or exceeds the time limit.
    """
    loop = asyncio.get_running_loop()
    try:
        child = _start(command, data)
    except OSError as error:
        raise HookFailed(f"it cannot be started: {error.strerror}") from error
    reader = loop.create_task(_read(child.output, output))
    try:
        await asyncio.wait([child.ended], timeout=seconds)
        if not child.ended.done():
            raise HookFailed(f"it was ended after {seconds:g} s (`timeout`)")
    finally:
        # Also after a cancellation, or if it has ended and left processes behind.
        await asyncio.shield(loop.create_task(_end(child, reader)))
    if status := child.ended.result():
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise HookFailed(f"it failed with {how}", status)


class _Child(NamedTuple):
    """A running program: its process, a pipe with its output, and its exit status once it has ended."""

    pid: int
    output: int
    ended: asyncio.Future[int]


def _start(command: Sequence[str], data: bytes) -> _Child:
    """Start the program.

    Not by the event loop: uvloop's fork() copies the page tables of the daemon, which takes 9 ms with 80 MB of memory. Popen
    uses vfork().

    Raises:
        OSError: if it cannot be started, or this process has no descriptor or thread left.
    """
    with ExitStack() as always, ExitStack() as on_failure:
        # A file in memory: unlike a pipe, it needs no task that writes, and no reader at the other end.
        source = os.memfd_create("hook")
        always.callback(os.close, source)
        with open(source, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(source, 0, os.SEEK_SET)
        reading, writing = os.pipe()
        on_failure.callback(os.close, reading)
        always.callback(os.close, writing)
        process = subprocess.Popen(  # noqa: S603  # the operator's program
            command, stdin=source, stdout=writing, stderr=writing, start_new_session=True
        )
        on_failure.callback(process.wait)
        on_failure.callback(_signal, process.pid, signal.SIGKILL)
        ended = _watch(process)
        on_failure.pop_all()
    return _Child(process.pid, reading, ended)


def _watch(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Return a future of the exit status. A thread waits for it: a pidfd needs Linux 5.3.

    Raises:
        OSError: if no thread can be started.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def wait() -> None:
        status = process.wait()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(ended.set_result, status)

    try:
        threading.Thread(target=wait, name="hook", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, shortage(error) or str(error)) from error
    return ended


async def _end(child: _Child, reader: asyncio.Task[None]) -> None:
    """End the process group, and do not wait for a process that has left the group and keeps the output open."""
    _signal(child.pid, signal.SIGTERM)
    waited: list[asyncio.Future[Any]] = [child.ended, reader]
    await asyncio.wait(waited, timeout=GRACE)
    _signal(child.pid, signal.SIGKILL)
    await asyncio.wait([child.ended])
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _read(descriptor: int, output: Callable[[str], None]) -> None:
    """Pass on the first lines; read the rest as well, so that the program is not blocked."""
    stream = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    try:
        await _pass_on(stream, output)
    finally:
        transport.close()


async def _pass_on(stream: asyncio.StreamReader, output: Callable[[str], None]) -> None:
    left, rest = LINES, b""
    while chunk := await stream.read(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines[:left]:
            output(_shown(line))
        left = max(0, left - len(lines))
        rest = rest[:LINE]
    if rest and left:
        output(_shown(rest))


def _shown(line: bytes) -> str:
    return printable(line[:LINE])
