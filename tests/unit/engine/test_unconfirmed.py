"""What a frontend has not confirmed, as a fence sees it: also what only a comparison finds, and whatever happens to the connection."""

import asyncio

from replicator.core.lifecycle import State
from replicator.core.pending import Key
from tests.support.frontends import at
from tests.support.stage import NEVER
from tests.support.waiting import eventually

ALL = Key(1, b"")


def now():
    return asyncio.get_running_loop().time()


async def test_a_live_frontend_has_confirmed_everything(stage):
    stage.write(b"f", b"content")
    await stage.live()
    assert stage.replica.unconfirmed(ALL, now()) == ""


async def test_a_change_is_unconfirmed_until_it_is_answered_and_a_later_one_does_not_count(stage):
    await stage.live()
    stage.now.refusals[b"f"] = ("no_space", "No space left on device")
    stage.replica.offer(stage.write(b"f", b"content"))
    fence = now()
    await eventually(lambda: stage.replica.dirty.problems(1), "the refusal")
    assert "No space left" in stage.replica.unconfirmed(ALL, fence)
    assert "No space left" in stage.replica.unconfirmed(at(b"f"), fence)
    assert stage.replica.unconfirmed(at(b"other"), fence) == ""
    assert stage.replica.unconfirmed(ALL, fence - 10) == ""
    assert stage.replica.unconfirmed(ALL, fence, lambda path: path == b"f") == ""


async def test_what_a_comparison_finds_after_a_fence_counts(stage):
    stage.write(b"f", b"content")
    await stage.live()
    del stage.disks["a"][b"f"]  # as after a power cut of the frontend
    stage.now.refusals[b"f"] = ("no_space", "No space left on device")
    fence, before = now(), stage.replica.full_comparisons
    stage.replica.resync()
    assert "being compared" in stage.replica.unconfirmed(ALL, fence)
    await eventually(
        lambda: stage.replica.full_comparisons > before and stage.replica.state is State.LIVE,
        "the comparison",
    )
    assert "No space left" in stage.replica.unconfirmed(ALL, fence)
    del stage.now.refusals[b"f"]
    await eventually(lambda: not stage.replica.dirty, "the file")
    assert stage.replica.unconfirmed(ALL, fence) == ""


async def test_a_frontend_without_a_connection_has_confirmed_nothing(stage):
    stage.retry(NEVER)
    await stage.live()
    stage.now.refusals[b"f"] = ("root_gone", "")
    stage.replica.offer(stage.write(b"f", b"content"))
    await stage.turned(stage.replica, State.RETRYING)
    assert "not connected: " in stage.replica.unconfirmed(at(b"other"), now())
