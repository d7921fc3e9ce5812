"""Fuzz the backend's side of a connection with any output of a frontend: the connection, and the comparison with a listing."""

import asyncio
from concurrent.futures import Executor, Future
from unittest import mock

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend import compare
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.digests import find_equal
from replicator.engine.frontend.in_flight import InFlight
from replicator.errors import ProtocolError, TransportError
from replicator.model import ROOT, check_path
from replicator.wire.changes import REASONS
from replicator.wire.messages import Acks, Digests, Listing, Opened, OpenTree
from tests.fuzz import mutate
from tests.fuzz.target import target
from tests.fuzz.targets import samples
from tests.fuzz.targets.wire import received
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree
from tests.support.waiting import turns

LINES = 20
"""Limit of lines in a listing for these tests, so that small inputs reach it."""

HANDSHAKE = samples.stream(samples.HI, Opened(1, -1, -1))
NUMBERS = (1, 2, 3)


class Inline(Executor):
    """An executor that runs each call at once, in the calling thread."""

    def submit(self, fn, /, *args, **kwargs):
        """Make the call; return its finished future."""
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as a thread does
            future.set_exception(error)
        return future


class Script:
    """A channel that delivers frames one by one, and then end of file."""

    def __init__(self, data):
        parts, rest = mutate.split(data)
        pieces = [*(mutate.frame(*part) for part in parts), rest]
        found, _ = received(pieces)
        rows = [frame.header.get("rows") for frame in found]
        self.digests = repr(rows)
        self._pieces = iter(pieces)

    async def read(self):
        await turns(20)  # let tasks run that wait for the previous frame
        return next(self._pieces, b"")

    async def write(self, _data):
        await turns()

    def diagnosis(self):
        return "last words"


def catalog():
    """Return the backend's catalog: some entries that a correct frontend lists, and one that it lacks."""
    made = FakeCatalog()
    for line in samples.LINES[:3]:
        made.put(line.path, line.entry)
    made.put(b"a/only-here", samples.LINES[1].entry)
    return made


async def _converse(data):
    connection = Connection(Script(data), _answered, lambda: None)
    tasks = [
        asyncio.ensure_future(connection.receive()),
        asyncio.ensure_future(_backend(connection)),
    ]
    await asyncio.wait(tasks[:1])
    await turns(20)
    tasks[1].cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, BaseException) and not isinstance(
            error, TransportError | ProtocolError | asyncio.CancelledError
        ):
            raise error


async def _backend(connection):
    await connection.exchange_hello()
    await connection.open_tree(OpenTree(1, b"/site"))
    in_flights = [InFlight(ChangeRef(number, Key(1, b"a")), 1, bulk=True) for number in NUMBERS]
    await connection.send([b"x" * 100], in_flights)
    opened = compare.OpenedTree(fake_tree(FakeSource(), catalog()))
    for below in (ROOT, b"a"):
        outcome = await compare.compare(
            connection, opened, below, Inline(), _found, digests=compare.ByDigest()
        )
        assert len(outcome.problems) <= compare.PROBLEMS
        assert all(problem.isprintable() for problem in outcome.problems)


async def _compare(data):
    connection = Connection(Script(data), _answered, lambda: None)
    receiving = asyncio.ensure_future(connection.receive())
    comparing = asyncio.ensure_future(_by_digests(connection))
    await asyncio.wait([receiving])
    await turns(50)
    comparing.cancel()
    connection.close("over")
    for error in await asyncio.gather(receiving, comparing, return_exceptions=True):
        if isinstance(error, BaseException) and not isinstance(
            error, TransportError | ProtocolError | asyncio.CancelledError
        ):
            raise error


async def _by_digests(connection):
    await connection.exchange_hello()
    await connection.open_tree(OpenTree(1, b"/site"))
    tree = fake_tree(FakeSource(), catalog())
    equal = await find_equal(connection, tree, ROOT, Inline())
    made = tree.catalog.digests.find([ROOT, b"a"], tree.mode_bits)
    assert equal.directories.keys() <= made.keys()
    assert all(made[path] == digest for path, digest in equal.directories.items())
    assert not equal.everything or made[ROOT].hex() in connection._channel.digests


async def _found(differences):
    for difference in differences:
        check_path(difference.path)


def _answered(in_flight, reason, detail):
    assert in_flight.part.number in NUMBERS
    assert not reason or reason in REASONS
    assert detail.isprintable()


@target(
    HANDSHAKE + samples.stream(samples.FROM_AGENT[4]),
    HANDSHAKE + samples.stream(samples.LISTING, samples.LISTING._replace(job=2, lines=())),
    samples.stream(samples.HI, samples.FROM_AGENT[2]),
    HANDSHAKE + samples.stream(*[Acks((number,), (), 50 * number) for number in NUMBERS]),
    mutate=mutate.frames,
    limit=8192,
)
def connection(data):
    """Raise nothing; catches ProtocolError and TransportError (ChannelLost at the end, AgentFailed for a bad target)."""
    with mock.patch.object(compare, "LINES", LINES):
        asyncio.run(_converse(data))


def _frames(*cuts, end=True):
    """Return a listing, split into frames after the given numbers of lines."""
    parts = [samples.LINES[low:high] for low, high in zip((0, *cuts), (*cuts, 9), strict=True)]
    last = len(parts) - 1
    return samples.stream(
        *(Listing(1, part, (), end=end and at == last) for at, part in enumerate(parts))
    )


@target(
    _frames(),
    _frames(1, 3),
    _frames(1, 2, 3, end=False),
    samples.stream(samples.LISTING),
    samples.stream(
        *(
            Listing(
                1,
                tuple(samples.LINES[1]._replace(path=b"a/%d%d" % (n, i)) for i in range(9)),
                (),
                n == 4,
            )
            for n in range(5)
        )
    ),
    mutate=mutate.frames,
    limit=8192,
)
def listing(data):
    """Run `connection` with a valid handshake before the input, so that the input is compared as a listing."""
    connection(HANDSHAKE + data)


def _site_digest():
    tree = fake_tree(FakeSource(), catalog())
    number = tree.catalog.digests.begin(tree.mode_bits)
    while not tree.catalog.digests.refresh(number):
        pass
    return tree.catalog.digests.find([ROOT, b"a"], tree.mode_bits)


_OURS = _site_digest()


@target(
    samples.stream(Digests(1, ((b"", _OURS[ROOT]),), 4, end=True)),
    samples.stream(
        Digests(1, (), 3, end=False),
        Digests(1, ((b"", samples.DIGEST),), 4, end=True),
        Digests(1, ((b"a", _OURS[b"a"]), (b"b", samples.DIGEST)), 0, end=True),
        Digests(1, (), 0, end=True),
    ),
    samples.stream(
        Digests(1, ((b"", b""),), 4, end=True),
        Digests(1, ((b"a", samples.DIGEST),), 0, end=True),
        Digests(1, ((b"a/x", b""),), 0, end=True),
        Digests(1, (), 0, end=True),
    ),
    mutate=mutate.frames,
    limit=8192,
)
def digests(data):
    """Raise nothing; catches ProtocolError and TransportError. Assert that nothing counts as equal whose digest is not the catalog's."""
    asyncio.run(_compare(HANDSHAKE + data))
