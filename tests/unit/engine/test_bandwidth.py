"""`ssh.bandwidth`: everything that is sent keeps the limit, frames stay whole, and the limit can change."""

import asyncio

import pytest

from replicator.core.pending import Key
from replicator.engine.bandwidth import Bandwidth
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.in_flight import InFlight
from replicator.errors import ChannelLost
from tests.support.waiting import turns

RATE = 100_000.0

pytestmark = pytest.mark.usefixtures("clock")


class Wire:
    """A channel that records what is written, and when."""

    def __init__(self):
        self.writes = []

    async def write(self, data):
        self.writes.append((asyncio.get_running_loop().time(), data))

    @property
    def data(self):
        return b"".join(data for _, data in self.writes)


def bulk(number, *, live=False):
    return [InFlight(ChangeRef(number, Key(1, b"f")), 1, bulk=not live)]


def connected(bandwidth):
    wire = Wire()
    return wire, Connection(wire, lambda *_: None, lambda: None, bandwidth)


def seconds():
    return asyncio.get_running_loop().time()


async def test_several_connections_together_keep_the_limit_and_share_it():
    bandwidth = Bandwidth(RATE)
    both = [connected(bandwidth) for _ in range(2)]
    began = seconds()
    frames = [b"x" * 50_000] * 4
    await asyncio.gather(
        *(one.send([frame], bulk(n)) for _, one in both for n, frame in enumerate(frames))
    )
    assert 3.9 <= seconds() - began <= 4.1
    (first, _), (second, _) = both
    half = began + 2.0
    sent = [sum(len(data) for at, data in wire.writes if at <= half) for wire in (first, second)]
    assert abs(sent[0] - sent[1]) <= 2 * bandwidth.piece
    assert first.data == second.data == b"x" * 200_000


async def test_without_a_limit_a_frame_is_written_at_once_and_in_one_piece():
    wire, connection = connected(Bandwidth())
    began = seconds()
    await connection.send([b"x" * 5_000_000], bulk(1))
    assert [len(data) for _, data in wire.writes] == [5_000_000]
    assert seconds() == began


async def test_a_live_change_waits_for_one_piece_of_the_bulk_of_other_frontends():
    bandwidth = Bandwidth(RATE)
    _, busy = connected(bandwidth)
    filling = asyncio.ensure_future(busy.send([b"x" * 1_000_000], bulk(1)))
    await asyncio.sleep(1.0)
    wire, connection = connected(bandwidth)
    began = seconds()
    await connection.send([b"live"], bulk(2, live=True))
    assert seconds() - began <= 3 * bandwidth.piece / RATE
    assert wire.data == b"live"
    filling.cancel()


async def test_a_live_change_behind_bulk_of_its_own_connection_makes_that_urgent():
    bandwidth = Bandwidth(RATE)
    fleet = [connected(bandwidth) for _ in range(10)]
    tasks = [
        asyncio.ensure_future(one.send([b"x" * 100_000], bulk(n)))
        for n, (_, one) in enumerate(fleet)
    ]
    await asyncio.sleep(0.5)
    wire, connection = fleet[3]
    began = seconds()
    connection.hurry()
    await connection.send([b"live"], bulk(99, live=True))
    assert seconds() - began <= 1.1, "its frame takes a second at the whole rate, ten at its share"
    assert wire.data.endswith(b"x" * 100_000 + b"live")
    for task in tasks:
        task.cancel()


async def test_a_caller_that_is_cancelled_leaves_no_half_frame():
    bandwidth = Bandwidth(RATE)
    wire, connection = connected(bandwidth)
    first = asyncio.ensure_future(connection.send([b"a" * 50_000], bulk(1)))
    await asyncio.sleep(0.1)
    first.cancel()
    await connection.send([b"b" * 1000], bulk(2))
    assert wire.data == b"a" * 50_000 + b"b" * 1000


async def test_a_reload_changes_and_removes_the_limit_of_what_is_being_written():
    bandwidth = Bandwidth(RATE)
    wire, connection = connected(bandwidth)
    writing = asyncio.ensure_future(connection.send([b"x" * 1_000_000], bulk(1)))
    await asyncio.sleep(1.0)
    bandwidth.limit(2 * RATE)
    before = len(wire.data)
    await asyncio.sleep(1.0)
    assert len(wire.data) - before == pytest.approx(2 * RATE, rel=0.1)
    bandwidth.limit(None)
    began = seconds()
    await writing
    assert seconds() == began
    bandwidth.limit(RATE)
    await connection.send([b"x" * 100_000], bulk(2))
    assert seconds() - began == pytest.approx(1.0, rel=0.1)


async def test_time_that_a_write_waits_is_not_time_that_the_agent_was_silent():
    bandwidth = Bandwidth(1000.0)
    _, connection = connected(bandwidth)
    watching = asyncio.ensure_future(connection.progress_timeout.watch(10.0))
    await connection.send([b"x" * 60_000], bulk(1))
    assert not watching.done(), "it took a minute"
    watching.cancel()


async def test_a_connection_that_ends_takes_no_further_part_and_its_writes_report_the_loss():
    """A CancelledError would end the caller's task without a word."""
    bandwidth = Bandwidth(RATE)
    wire, connection = connected(bandwidth)
    writing = asyncio.ensure_future(connection.send([b"x" * 1_000_000], bulk(1)))
    await asyncio.sleep(0.1)
    connection.close("the connection was lost")
    await turns(5)
    assert writing.done()
    with pytest.raises(ChannelLost):
        await writing
    other_wire, other = connected(bandwidth)
    before, began = len(wire.data), seconds()
    await other.send([b"y" * 10_000], bulk(2))
    assert seconds() - began <= 0.15
    assert len(wire.data) == before
    assert len(other_wire.data) == 10_000
