"""Frontends that lie: they speak our wire as far as it suits them.

A hostile frontend is a FakeAgent with what it does wrong. A connector gives named hosts to such, and all others to real agents
in child processes, so that one backend serves both.
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
from tests.support.frontends import FakeAgent

EVIL = "\x1b]0;owned\x07[/red]\nforged line"
"""A terminal escape, what rich takes for markup, and a second line."""


class Mixed(LocalFleet):
    """A connector: hosts in `liars` are hostile, all others are honest.

    Args:
        liars: host to what makes its next agent, or to where a real server is.

    Attributes:
        attempts: connections, by host.
        spoken: agents of the liars, in order.
        ssh: a connector for liars that are addresses of real servers.
    """

    def __init__(self, directory, **liars):
        super().__init__(directory)
        self.liars = liars
        self.ssh = None
        self.attempts = Counter()
        self.spoken = []

    async def connect(self, address, identity=""):
        self.attempts[address.host] += 1
        make = self.liars.get(address.host)
        if make is None:
            return await super().connect(address, identity)
        if isinstance(make, Address):
            return await self.ssh.connect(make)
        self.spoken.append(make())
        return self.spoken[-1]


class Hostile(FakeAgent):
    """Behaves, until a subclass or a script says otherwise. It keeps no file, and its answers take no time.

    Args:
        script: kind of message (a class) to a function (agent, message) that answers instead.
        flood: bytes that are there to be read for ever, after the handshake.
        disk: what it holds; default: nothing.
    """

    read_bytes = 0
    """What all of them have flooded the backend with, since a test set it to 0."""

    def __init__(self, script=None, flood=b"", disk=None):
        super().__init__({} if disk is None else disk)
        self.script = script or {}
        self.drips = []
        self._flood = flood

    async def read(self):
        if self._flood and self.of(OpenTree) and self._incoming.empty():
            await asyncio.sleep(0)  # as a socket does
            Hostile.read_bytes += len(self._flood)
            return self._flood
        return await super().read()

    def say_later(self, pieces, pause=0.05):
        """Say pieces with pauses between them, until the channel is closed."""

        async def drip():
            for piece in pieces:
                if self.closed:
                    return
                self.say_raw(piece)
                await asyncio.sleep(pause)

        self.drips.append(asyncio.get_running_loop().create_task(drip()))

    async def close(self):
        for drip in self.drips:
            drip.cancel()
        await asyncio.gather(*self.drips, return_exceptions=True)
        await super().close()

    def _answer(self, message):
        for kind, act in self.script.items():
            if isinstance(message, kind):
                act(self, message)
                return
        super()._answer(message)

    def honestly(self, message):
        """Answer as an honest agent does."""
        super()._answer(message)


def raw(text, payload=b""):
    """A frame of any text."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return struct.pack(">II", len(data), len(payload)) + data + payload


def says(*data):
    """A script's step: say these bytes, or messages."""

    def act(agent, _message):
        for one in data:
            agent.say_raw(one if isinstance(one, bytes) else frames.encode(one.header()))

    return act


def silent(_agent, _message):
    """A script's step: say nothing."""


def hangs_up(agent, _message):
    """A script's step: end the connection."""
    agent.hang_up()


def line(name, **more):
    """One line of a listing."""
    return Listed(name, Entry(FILE, 0o644, 1, 1)._replace(**more), 0, 0)


def names(prefix=b"extra", start=0, step=500):
    """Endless lists of lines with names in order."""
    for begin in count(start, step):
        yield tuple(line(b"%s-%012d" % (prefix, n)) for n in range(begin, begin + step))


def lists_for_ever(lines_of=names):
    """A script whose listings never end; it obeys the credit."""
    going = {}

    def begin(agent, request):
        going[agent] = lines_of()
        for _ in range(request.credit):
            agent.say(Listing(request.job, next(going[agent]), (), False))

    def more(agent, message):
        for _ in range(message.credit):
            agent.say(Listing(message.job, next(going[agent]), (), False))

    return {ListTree: begin, More: more}


def lists(*frames_of_lines, end=True):
    """A script that answers each request for a listing with these lines."""

    def begin(agent, request):
        for number, lines in enumerate(frames_of_lines, 1):
            last = end and number == len(frames_of_lines)
            agent.say(Listing(request.job, tuple(lines), (), last))

    return {ListTree: begin}


def lists_row(row):
    """A script that answers a request for a listing with one row of any JSON text."""

    def begin(agent, request):
        text = '{"t":"listing","job":%d,"lines":[%s],"unlisted":[],"end":true}'
        agent.say_raw(raw(text % (request.job, row)))

    return {ListTree: begin}


def refuses(reason, detail=EVIL):
    """A script that refuses every change."""

    def batch(agent, message):
        rows = tuple((change.number, reason, detail) for change in message.changes)
        agent.say(Acks((), rows, agent._taken))

    return {messages.Batch: batch}


def answers(make):
    """A script that answers each batch with what `make(agent, batch)` returns."""
    return {messages.Batch: lambda agent, batch: agent.say(make(agent, batch))}


def ends_at(point):
    """A script that answers until it has heard as many messages as `point`, and hangs up in place of the answer."""

    def act(agent, message):
        if len(agent.heard) >= point:
            agent.hang_up()
        else:
            agent.honestly(message)

    return {object: act}


def resident():
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def tree_of(directory):
    """What a directory holds, with times: nobody may have written there."""
    found = {}
    for top, _, files in os.walk(directory):
        for path in [top, *(os.path.join(top, file) for file in files)]:
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found
