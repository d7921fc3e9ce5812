"""One restore: the agent's requests for URLs are answered, and its reports end it."""

import asyncio

import pytest

from replicator.engine.frontend import restoring
from replicator.errors import ChannelLost, ProtocolError
from replicator.wire.messages import EndRestore, NeedUrls, Restore, Restored, Urls
from tests.support.ends import receiving
from tests.support.waiting import eventually

REQUEST = Restore(1, bytes(32), 100, "http://store/manifest", 10)


async def urls_of(packs):
    return [f"http://store/{pack}" for pack in packs]


async def started(ends, reports=None, request=REQUEST):
    """Return the task of a restore whose request has been sent."""
    reported = (lambda _: None) if reports is None else reports.append
    task = asyncio.ensure_future(ends.connection.restoring.run(request, urls_of, reported))
    await eventually(lambda: ends.channel.of(Restore), lambda: "the request")
    return task


async def test_requests_for_urls_are_answered_and_reports_passed_on(ends):
    reports = []
    async with receiving(ends):
        task = await started(ends, reports)
        ends.channel.send(NeedUrls(1, (0, 2, -1)), Restored(1, 1, 5, 0, 0))
        end = Restored(1, 2, 9, 1, 0, "why", end=True)
        ends.channel.send(end)
        assert await task == "why"
    assert ends.channel.of(Restore) == [REQUEST]
    (urls,) = ends.channel.of(Urls)
    assert urls == Urls(1, ((0, "http://store/0"), (2, "http://store/2"), (-1, "http://store/-1")))
    assert reports == [Restored(1, 1, 5, 0, 0), end]


async def test_messages_about_another_restore_are_ignored(ends):
    async with receiving(ends):
        ends.channel.send(NeedUrls(1, (0,)), Restored(1, 1, 5, 0, 0, end=True))
        task = await started(ends)
        ends.channel.send(Restored(2, 9, 9, 0, 0, "of another tree", end=True))
        ends.channel.send(Restored(1, 1, 5, 0, 0, end=True))
        assert await task == ""
    assert ends.channel.of(Urls) == []


async def test_a_restore_without_progress_is_not_waited_for(ends, monkeypatch):
    monkeypatch.setattr(restoring, "GIVE_UP", 0.05)
    async with receiving(ends):
        task = await started(ends)
        assert await task == "there is no progress"
        assert ends.channel.of(EndRestore) == [EndRestore(1)]


async def test_a_tree_that_is_removed_or_paused_is_not_restored_any_more(ends):
    async with receiving(ends):
        task = await started(ends)
        ends.connection.restoring.cancel(2)
        ends.connection.restoring.cancel(1)
        assert await task == "the tree was removed or paused"
        assert ends.channel.of(EndRestore) == [EndRestore(1)]


async def test_the_end_of_the_connection_ends_it(ends):
    async with receiving(ends):
        task = await started(ends)
        ends.connection.close("the connection was lost")
        with pytest.raises(ChannelLost, match="the connection was lost"):
            await task


async def test_an_agent_that_sends_too_much_about_it_violates_the_protocol(ends):
    task = await started(ends)
    for _ in range(restoring.QUEUE):
        ends.connection.restoring.receive(NeedUrls(1, (0,)))
    with pytest.raises(ProtocolError, match="too much about a restore"):
        ends.connection.restoring.receive(NeedUrls(1, (0,)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
