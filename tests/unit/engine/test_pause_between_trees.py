"""A tree that is paused after its first comparison, while others are still being compared: what changes meanwhile is not lost."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key
from replicator.engine.budget import Budget
from replicator.engine.changes.encode import ChangeRef, EncodedChanges
from replicator.engine.frontend.comparisons import Comparisons
from replicator.engine.frontend.pending_paths import PendingPaths
from replicator.engine.frontend.resync import ResyncQueue
from tests.support.waiting import turns

TREES = frozenset({1, 2})


class Opened(dict):
    """Two open trees."""

    missing = ""

    def may_retry(self, number):
        return True


class Frontend(Comparisons):
    """Real comparisons whose listings end when a test lets them."""

    def __init__(self):
        dirty, queue = DirtySet(), ResyncQueue()
        queue.connected()
        self.pending_paths = PendingPaths("a", dirty, queue, Budget(lambda: ()))
        self.pending_paths.connected(TREES)
        state = SimpleNamespace(dirty=dirty, resync_queue=queue, pending_paths=self.pending_paths, held=frozenset(),
                                progress=None, errors=SimpleNamespace(set_unlisted=lambda *_: None))  # fmt: skip
        trees = {number: SimpleNamespace(comparable=True) for number in TREES}
        context = SimpleNamespace(trees=trees, pool=None, compare=True)
        sender = SimpleNamespace(moved=turn, wake=lambda: None)
        opened = Opened(dict.fromkeys(TREES))
        super().__init__(None, context, state, opened, None, sender)
        self.state = state
        self.second, self.may_end = asyncio.Event(), asyncio.Event()

    async def _compare(self, tree, below, may_continue=None):
        if tree == 2:
            self.second.set()
            await self.may_end.wait()
        return []

    def pause(self, trees):
        """Do what a session does."""
        self.state.held = frozenset(trees)
        self.state.dirty.hold(trees)
        self.state.resync_queue.hold(self.state.held)
        self.hold()


async def turn():
    await asyncio.sleep(0)


@pytest.mark.parametrize("unpaused_before_the_end", [True, False])
async def test_a_tree_that_was_paused_meanwhile_is_compared_again(unpaused_before_the_end):
    frontend = Frontend()
    comparing = asyncio.create_task(frontend.compare_trees(turn))
    await frontend.second.wait()
    frontend.pause({1})
    frontend.pending_paths.missed(EncodedChanges((), (ChangeRef(5, Key(1, b"index.html")),)))
    if unpaused_before_the_end:
        frontend.pause(())
    frontend.may_end.set()
    for tree in await comparing:
        frontend.pending_paths.tree_compared(tree)
    frontend.pause(())
    assert not frontend.pending_paths.is_followed(1)
    assert frontend.due() == [1]
    assert frontend.pending_paths.is_followed(2)


async def test_the_comparison_of_a_directory_that_a_short_pause_has_cancelled_is_made_again():
    frontend = Frontend()
    compared, began, may_end = [], asyncio.Event(), asyncio.Event()

    async def resync_path(key):
        compared.append(key)
        began.set()
        await may_end.wait()
        return True

    frontend._resync_path = resync_path
    for tree in (1, 2):
        frontend.state.resync_queue.began(tree)
        frontend.pending_paths.tree_compared(tree)
    frontend.state.resync_queue.request(Key(2, b"d"))
    task = asyncio.create_task(frontend.resync_directories())
    await began.wait()
    frontend.pause({2})
    frontend.pause(())  # before the cancelled comparison has ended
    may_end.set()
    await turns(10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert compared == [Key(2, b"d"), Key(2, b"d")]
