"""Hostile frontends: they send messages that a correct agent would not send.

A hostile frontend is a FakeAgent with wrong answers. The connector `Mixed` gives named hosts hostile agents, and all others real
agents in child processes, so that one backend serves both.
"""

import asyncio
import os
import resource
import struct
from collections import Counter
from itertools import count

from replicator.model import FILE, Entry, Listed
from replicator.ports import Address
from replicator.wire import frames, messages
from replicator.wire.messages import Acks, Listing, ListTree, More, OpenTree
from tests.support.backend import LocalFleet
from tests.support.fakes.agent import FakeAgent

EVIL = "\x1b]0;owned\x07[/red]\nforged line"
"""Text with a terminal escape sequence, markup of rich, and a second line."""


class Mixed(LocalFleet):
    """A connector for hostile and correct frontends.

    Args:
        liars: by host: a function that makes its next hostile agent, or the address of a real server.

    Attributes:
        attempts: number of connections by host.
        spoken: the hostile agents, in order.
        hosts: the host of each of them.
        ssh: connector for the addresses of real servers in `liars`.
    """

    def __init__(self, directory, **liars):
        super().__init__(directory)
        self.liars = liars
        self.ssh = None
        self.attempts = Counter()
        self.spoken = []
        self.hosts = []

    async def connect(self, address, identity=""):
        self.attempts[address.host] += 1
        make = self.liars.get(address.host)
        if make is None:
            return await super().connect(address, identity)
        if isinstance(make, Address):
            return await self.ssh.connect(make)
        self.hosts.append(address.host)
        self.spoken.append(make())
        return self.spoken[-1]


class Hostile(FakeAgent):
    """An agent that answers correctly, except where a subclass or a script overrides it. It stores no file content.

    Args:
        script: by message class: a function (agent, message) that answers instead.
        flood: bytes that can be read endlessly after the handshake.
        disk: entries by path; default: empty.
    """

    read_bytes = 0
    """Bytes of `flood` that the backend read from all instances, since a test reset it to 0."""

    def __init__(self, script=None, flood=b"", disk=None):
        super().__init__({} if disk is None else disk)
        self.script = script or {}
        self.drips = []
        self._flood = flood

    async def read(self):
        if self._flood and self.of(OpenTree) and self._incoming.empty():
            await asyncio.sleep(0)  # yield to other tasks, as reading from a socket does
            Hostile.read_bytes += len(self._flood)
            return self._flood
        return await super().read()

    def send_later(self, pieces, pause=0.05):
        """Send pieces with pauses between them, until the channel is closed."""

        async def drip():
            for piece in pieces:
                if self.closed:
                    return
                self.send_raw(piece)
                await asyncio.sleep(pause)

        self.drips.append(asyncio.get_running_loop().create_task(drip()))

    async def close(self):
        for drip in self.drips:
            drip.cancel()
        await asyncio.gather(*self.drips, return_exceptions=True)
        await super().close()

    def answer(self, message):
        for kind, act in self.script.items():
            if isinstance(message, kind):
                act(self, message)
                return
        super().answer(message)

    def honestly(self, message):
        """Answer as a correct agent does."""
        super().answer(message)


def raw(text, payload=b""):
    """Return a frame whose header is any text."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return struct.pack(">II", len(data), len(payload)) + data + payload


def sends(*data):
    """Return a script function that sends these bytes or messages."""

    def act(agent, _message):
        for one in data:
            agent.send_raw(one if isinstance(one, bytes) else frames.encode(one.header()))

    return act


def silent(_agent, _message):
    """Script function: send nothing."""


def hangs_up(agent, _message):
    """Script function: close the connection."""
    agent.hang_up()


def line(name, **more):
    """Return one line of a listing."""
    return Listed(name, Entry(FILE, 0o644, 1, 1)._replace(**more), 0, 0)


def names(prefix=b"extra", start=0, step=500):
    """Yield lists of listing lines with ascending names, without end."""
    for begin in count(start, step):
        yield tuple(line(b"%s-%012d" % (prefix, n)) for n in range(begin, begin + step))


def lists_for_ever(lines_of=names):
    """Return a script whose listings never end, but respect the credit."""
    going = {}

    def begin(agent, request):
        going[agent] = lines_of()
        for _ in range(request.credit):
            agent.send(Listing(request.job, next(going[agent]), (), False))

    def more(agent, message):
        for _ in range(message.credit):
            agent.send(Listing(message.job, next(going[agent]), (), False))

    return {ListTree: begin, More: more}


def lists(*frames_of_lines, end=True):
    """Return a script that answers each request for a listing with these lines."""

    def begin(agent, request):
        for number, lines in enumerate(frames_of_lines, 1):
            last = end and number == len(frames_of_lines)
            agent.send(Listing(request.job, tuple(lines), (), last))

    return {ListTree: begin}


def lists_row(row):
    """Return a script that answers a request for a listing with one row of any JSON text."""

    def begin(agent, request):
        text = '{"t":"listing","job":%d,"lines":[%s],"unlisted":[],"end":true}'
        agent.send_raw(raw(text % (request.job, row)))

    return {ListTree: begin}


def refuses(reason, detail=EVIL):
    """Return a script that refuses every change."""

    def batch(agent, message):
        rows = tuple((change.number, reason, detail) for change in message.changes)
        agent.send(Acks((), rows, agent.taken))

    return {messages.Batch: batch}


def answers(make):
    """Return a script that answers each batch with what `make(agent, batch)` returns."""
    return {messages.Batch: lambda agent, batch: agent.send(make(agent, batch))}


def ends_at(point):
    """Return a script that closes the connection instead of answering message number `point`."""

    def act(agent, message):
        if len(agent.heard) >= point:
            agent.hang_up()
        else:
            agent.honestly(message)

    return {object: act}


def resident():
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def tree_of(directory):
    """Return the content of a directory with times, to compare it before and after a test."""
    found = {}
    for top, _, files in os.walk(directory):
        for path in [top, *(os.path.join(top, file) for file in files)]:
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found
