"""Requests for the sums of a file: what an agent answers becomes a signature, or nothing, and never more than was requested."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from replicator.core.pending import Key
from replicator.delta.signature import block_size_for
from replicator.delta.sums import ROW, RowMaker
from replicator.engine.frontend.block_sums import AHEAD, MOST_BLOCKS, SIMILAR, BlockSumsRequests
from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.errors import ChannelLost, ProtocolError
from replicator.wire.messages import BlockSums
from tests.support.waiting import eventually

MIB = 1 << 20
KEY = Key(1, b"big")


class Agent:
    """Answers requests for a file of `size` bytes.

    Attributes:
        waiting: the requests that are not answered.
        most: most requests that waited at a time.
    """

    def __init__(self, size):
        self.size = size
        self.waiting = []
        self.most = 0
        self.requests = BlockSumsRequests(self.send, ProgressTimeout(lambda: ""))

    async def send(self, request):
        self.waiting.append(request)
        self.most = max(self.most, len(self.waiting))

    async def answer(self, **more):
        await eventually(lambda: self.waiting, "a request")
        request = self.waiting.pop(0)
        end = -(-self.size // request.block_size)
        blocks = max(0, min(request.blocks, end - request.first))
        rows = more.pop("rows", bytes(ROW * blocks))
        self.requests.receive(BlockSums(request.job, self.size, "v")._replace(**more), rows)
        return request


@asynccontextmanager
async def requesting(agent, size=None):
    size = agent.size if size is None else size
    task = asyncio.get_running_loop().create_task(agent.requests.request(KEY, size, 5))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_stretches_of_one_version_become_a_signature():
    agent = Agent(200 * MIB)
    async with requesting(agent) as task:
        requests = [await agent.answer() for _ in range(7)]
        held = await task
    assert held.version == "v"
    assert held.signature.size == agent.size
    assert held.signature.block_size == block_size_for(agent.size) // 2
    assert [one.first * one.block_size for one in requests] == [n * 32 * MIB for n in range(7)]
    assert agent.most == AHEAD
    assert not agent.requests.is_due


async def test_a_small_file_takes_one_request():
    agent = Agent(5000)
    async with requesting(agent) as task:
        request = await agent.answer(rows=RowMaker(4096, 5).rows(memoryview(bytes(5000))))
        assert (await task).signature.full_blocks == 1
    assert (request.least, request.most) == (5000 // SIMILAR, 5000 * SIMILAR)


@pytest.mark.parametrize("size", [MIB, 1 << 30, 1 << 34, 1 << 36, 1 << 39])
async def test_the_number_of_sums_is_bounded_for_files_of_any_size(size):
    agent = Agent(size)
    async with requesting(agent):
        request = await agent.answer()
        assert size <= request.most <= MOST_BLOCKS * request.block_size
        assert request.blocks * request.block_size <= 32 * MIB


async def test_a_file_of_a_pebibyte_is_not_requested():
    agent = Agent(1 << 50)
    async with requesting(agent) as task:
        assert await task is None
    assert not agent.waiting


@pytest.mark.parametrize("more", [{"version": "w"}, {"size": 200 * MIB + 1}, {"size": -1}])
async def test_another_version_in_the_middle_gives_nothing(more):
    agent = Agent(200 * MIB)
    async with requesting(agent) as task:
        await agent.answer()
        await agent.answer()
        await agent.answer(**more)
        while not task.done():
            if agent.waiting:
                await agent.answer()
            await asyncio.sleep(0)
        assert await task is None
    assert not agent.requests.is_due


async def test_no_file_gives_nothing_with_one_request():
    agent = Agent(200 * MIB)
    async with requesting(agent) as task:
        await agent.answer(size=-1, rows=b"")
        assert await task is None


@pytest.mark.parametrize("rows", [b"", b"x", bytes(ROW), bytes(3 * ROW)])
async def test_a_wrong_number_of_rows_gives_nothing(rows):
    agent = Agent(5000)
    async with requesting(agent) as task:
        await agent.answer(rows=rows)
        assert await task is None


async def test_what_was_not_requested_is_a_violation():
    agent = Agent(5000)
    with pytest.raises(ProtocolError):
        agent.requests.receive(BlockSums(1), b"")
    async with requesting(agent):
        await eventually(lambda: agent.waiting, "a request")
        with pytest.raises(ProtocolError):
            agent.requests.receive(BlockSums(2), b"")


@pytest.mark.parametrize(
    "answer", [{"rows": bytes(ROW * 8193)}, {"size": 5000 * SIMILAR + 1}, {"size": 1}]
)
async def test_more_than_was_requested_is_a_violation(answer):
    agent = Agent(5000)
    async with requesting(agent):
        with pytest.raises(ProtocolError):
            await agent.answer(**answer)


async def test_a_lost_connection_ends_the_request():
    agent = Agent(5000)
    async with requesting(agent) as task:
        await eventually(lambda: agent.waiting, "a request")
        agent.requests.close("gone")
        with pytest.raises(ChannelLost):
            await task
