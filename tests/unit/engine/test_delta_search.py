"""Which large files are summed by the frontend before they are sent, and that nothing else waits for that."""

import random

import pytest

from replicator.core.pending import PathState, PendingKind
from replicator.delta.sums import RowMaker
from replicator.engine.frontend.delta_search import LEAST
from replicator.wire import frames
from replicator.wire.messages import BeginFile, BlockSums, SumBlocks
from tests.support.waiting import eventually

CONTENT = random.Random(1).randbytes(LEAST + 5000)


@pytest.fixture
def summing(sending):
    sending.connection.agent = sending.connection.agent._replace(features=frozenset(("sums",)))
    sending.write(b"big", CONTENT)
    return sending


async def requested(sending, count=1):
    await eventually(lambda: len(sending.channel.of(SumBlocks)) == count, "a request for sums")
    return sending.channel.of(SumBlocks)[-1]


async def begun(sending, count=1):
    def is_begun():
        sending.make_room()
        return len(sending.channel.of(BeginFile)) == count

    await eventually(is_begun, "the file")
    return sending.channel.of(BeginFile)[-1]


def answer(sending, request, content=CONTENT):
    rows = RowMaker(request.block_size, request.multiplier).rows(memoryview(content))
    sending.channel.send_raw(
        frames.encode(BlockSums(request.job, len(content), "v1").header(), [rows])
    )


async def test_a_file_of_which_another_version_may_be_there_is_a_delta_against_it(summing):
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        answer(summing, await requested(summing), CONTENT[5000:])
        begin = await begun(summing)
        assert (begin.delta, begin.base) == (True, "v1")


async def test_a_file_that_is_not_there_is_sent_whole(summing):
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        request = await requested(summing)
        summing.channel.send(BlockSums(request.job))
        assert not (await begun(summing)).delta


@pytest.mark.parametrize("features", [(), ("compress",)])
async def test_an_agent_that_cannot_sum_is_not_asked(summing, features):
    summing.connection.agent = summing.connection.agent._replace(features=frozenset(features))
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        assert not (await begun(summing)).delta
        assert not summing.channel.of(SumBlocks)


async def test_new_files_and_those_below_the_limit_are_sent_without_asking(summing):
    summing.write(b"less", CONTENT[: LEAST - 1])
    async with summing.open():
        summing.mark(b"big")
        summing.mark(b"less", kind=PendingKind.DELTA)
        await begun(summing, 2)
        assert not summing.channel.of(SumBlocks)


async def test_a_refused_delta_is_followed_by_the_whole_file_at_once(summing):
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        answer(summing, await requested(summing))
        summing.refuse((await begun(summing)).put.number, "base_mismatch", "it has changed")
        assert not (await begun(summing, 2)).delta
        assert len(summing.channel.of(SumBlocks)) == 1
        assert summing.errors.refusals == []


async def test_a_live_delta_against_another_version_is_followed_by_one_against_what_is_there(
    summing,
):
    async with summing.open():
        assert summing.offer(summing.delta(b"big", 9), compared=True)
        summing.refuse((await begun(summing)).put.number, "base_mismatch", "another file")
        answer(summing, await requested(summing))
        assert (await begun(summing, 2)).base == "v1"


async def test_other_files_do_not_wait_while_one_is_summed(summing):
    summing.write(b"other", CONTENT[::-1])
    summing.write(b"live", b"news")
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        await requested(summing)
        summing.mark(b"other")
        assert (await begun(summing)).put.path == b"other"
        assert summing.offer(summing.whole(b"live"))
        await summing.times_sent(b"live", 1)


async def test_a_file_that_is_marked_again_while_it_is_summed_is_asked_for_again(summing):
    async with summing.open():
        summing.mark(b"big", kind=PendingKind.DELTA)
        first = await requested(summing)
        summing.write(b"big", CONTENT + b"more")
        summing.mark(b"big", kind=PendingKind.DELTA)
        answer(summing, first)
        second = await requested(summing, 2)
        assert second.least == (len(CONTENT) + 4) // 8
        answer(summing, second)
        begin = await begun(summing)
        assert (begin.put.size, begin.delta) == (len(CONTENT) + 4, True)


async def test_files_of_a_paused_tree_wait_until_it_is_unpaused(summing):
    summing.write(b"other", CONTENT[::-1])
    async with summing.open():
        summing.mark(b"big", b"other", kind=PendingKind.DELTA)
        request = await requested(summing)
        summing.state.held = frozenset((1,))
        summing.dirty.hold((1,))
        summing.sender.hold()
        answer(summing, request)
        await eventually(
            lambda: all(one.state is PathState.WAITING for _, one in summing.dirty.sendable()),
            "both to be put back",
        )
        assert not summing.channel.of(BeginFile)

        summing.state.held = frozenset()
        summing.dirty.hold(())
        summing.sender.wake()
        for count in (2, 3):
            answer(summing, await requested(summing, count))
        await begun(summing, 2)
