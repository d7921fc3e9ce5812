"""Verification: it gives way to comparisons, continues where it stopped, and ends with its connection."""

import asyncio

import pytest

from replicator.core.lifecycle import State
from replicator.engine.frontend import compare
from replicator.engine.frontend import verify as module
from replicator.engine.frontend.verify import verify
from replicator.errors import ChannelLost, ControlError
from replicator.model import Listed
from replicator.wire import messages
from replicator.wire.messages import Listing, ListTree
from tests.support.stage import NEVER
from tests.support.waiting import FOREVER, eventually


@pytest.fixture
async def verifying(stage):
    """A live frontend with four files, whose verification has begun; its agent sends nothing unless the test does."""
    for name in (b"a", b"b", b"c", b"d"):
        stage.write(name, b"content")
    await stage.live()
    stage.now.mute.add(ListTree)
    stage.task_of_verify = asyncio.ensure_future(
        verify(stage.replica, stage.context.pool, repair=False)
    )
    await eventually(lambda: stage.listings() == 2, "the verification")
    yield stage
    stage.task_of_verify.cancel()
    await asyncio.wait([stage.task_of_verify])


def send_listing(stage, *names, end=False):
    """Let the agent list files in answer to the last request."""
    asked = stage.now.of(ListTree)[-1]
    entries = stage.disk if asked.digest else {}
    lines = tuple(Listed(name, entries[name], 0, 0) for name in names)
    stage.now.send(Listing(asked.job, lines, (), end))


async def test_a_verification_ends_with_its_connection(verifying):
    verifying.retry(NEVER)
    verifying.now.hang_up()
    with pytest.raises(ChannelLost):
        await asyncio.wait_for(verifying.task_of_verify, FOREVER)


async def test_a_verification_that_waits_for_a_listing_ends_with_its_connection(verifying):
    verifying.retry(NEVER)
    verifying.replica.resync()
    await eventually(lambda: verifying.listings() == 3, "the comparison")
    verifying.now.hang_up()
    with pytest.raises(ChannelLost):
        await asyncio.wait_for(verifying.task_of_verify, FOREVER)
    assert verifying.context.bootstrap_queue.inside == 0


@pytest.mark.parametrize("knows_after", [True, False], ids=["this release", "an earlier one"])
async def test_a_comparison_interrupts_a_verification_which_then_continues_where_it_stopped(
    stage, monkeypatch, knows_after
):
    features = set(messages.FEATURES) - (set() if knows_after else {"after"})
    monkeypatch.setattr(messages, "FEATURES", tuple(sorted(features)))
    for name in (b"a", b"b", b"c", b"d"):
        stage.write(name, b"content")
    await stage.live()
    stage.disk[b"d"] = stage.disk[b"d"]._replace(digest=b"x" * 32)
    stage.now.mute.add(ListTree)
    task = asyncio.ensure_future(verify(stage.replica, stage.context.pool, repair=False))
    await eventually(lambda: stage.listings() == 2, "the verification")
    send_listing(stage, b"a", b"b")
    await eventually(lambda: len(stage.now.of(messages.More)) == 2, "its first half")

    stage.now.mute.clear()
    stage.replica.resync()
    await eventually(lambda: stage.replica.full_comparisons == 2, "the comparison")
    stage.now.mute.add(ListTree)
    await eventually(lambda: stage.listings() >= 4, "the verification to go on")
    assert [request.after for request in stage.now.of(ListTree) if request.digest] == [
        b"",
        b"b" if knows_after else b"",
    ]
    if not task.done():
        send_listing(stage, *([b"c", b"d"] if knows_after else [b"a", b"b", b"c", b"d"]), end=True)
    report = await asyncio.wait_for(task, FOREVER)
    assert (report.differing, report.paths) == (1, ["d"])


async def test_a_verification_that_never_advances_is_given_up(verifying, monkeypatch):
    monkeypatch.setattr(compare, "INTERRUPTIONS", 2)
    for _ in range(4):
        if verifying.task_of_verify.done():
            break
        before, asked = verifying.replica.full_comparisons, verifying.listings()
        verifying.replica.resync()
        await eventually(
            lambda asked=asked: any(
                not request.digest for request in verifying.now.of(ListTree)[asked:]
            ),
            "the comparison's request",
        )
        send_listing(verifying, end=True)
        await eventually(
            lambda before=before: (
                verifying.replica.full_comparisons > before
                and verifying.replica.state is State.LIVE
            ),
            "the comparison",
        )
    with pytest.raises(ControlError, match="again and again"):
        await asyncio.wait_for(verifying.task_of_verify, FOREVER)


async def test_a_change_that_is_recorded_and_not_published_yet_is_no_difference(verifying):
    state = verifying.tree.state
    state.is_published.clear()
    encoded = verifying.write(b"a", b"changed")
    send_listing(verifying, b"a", b"b", b"c", b"d", end=True)
    await eventually(lambda: state.waited, "the verification to wait")
    verifying.replica.offer(encoded)
    state.is_published.set()
    report = await asyncio.wait_for(verifying.task_of_verify, FOREVER)
    assert (report.compared, report.silent, report.error) == (4, 0, "")


async def test_a_tree_that_is_replaced_while_it_is_verified_is_not_reported_as_equal(
    stage, monkeypatch
):
    stage.write(b"a", b"content")
    await stage.live()
    stage.disk[b"a"] = stage.disk[b"a"]._replace(digest=b"x" * 32)
    real = module.compare

    async def compare_and_reload(connection, opened, *rest, **more):
        outcome = await real(connection, opened, *rest, **more)
        stage.context.trees.pop(opened.tree.number)
        stage.replica.remove_tree(opened.tree.number)
        return outcome

    monkeypatch.setattr(module, "compare", compare_and_reload)
    async with asyncio.timeout(FOREVER):
        report = await verify(stage.replica, stage.context.pool, repair=False)
    assert "a tree was removed or changed meanwhile" in report.error


@pytest.mark.parametrize(("most", "differing"), [(2, 2), (2, 3)], ids=["as many", "more"])
async def test_repair_says_whether_a_tree_has_more_differences_than_one_run_repairs(
    stage, monkeypatch, most, differing
):
    monkeypatch.setattr(module, "MOST", most)
    for name in (b"a", b"b", b"c", b"d"):
        stage.write(name, b"content")
    await stage.live()
    for name in (b"a", b"b", b"c")[:differing]:
        stage.disk[name] = stage.disk[name]._replace(digest=b"x" * 32)
    report = await verify(stage.replica, stage.context.pool, repair=True)
    assert report.differing == differing
    assert ("run it again" in report.error) is (differing > most)
