"""Listings: within their credit, one at a time, and with a timeout."""

import asyncio
from contextlib import suppress

import pytest

from replicator.engine.frontend import listings as listings_module
from replicator.engine.frontend.listings import CREDIT
from replicator.errors import ChannelLost, ProtocolError
from replicator.model import FILE, Entry, Listed
from replicator.wire.messages import Listing, ListTree, More
from tests.support.ends import receiving


def lines(job, *names, end=False):
    entry = Entry(FILE, 0o644, 1, 1)
    return Listing(job, tuple(Listed(name, entry, 0, 0) for name in names), (), end)


async def test_a_listing_without_progress_ends_the_connection(ends):
    async with receiving(ends), ends.connection.listing(1, b"", digest=False) as listings:
        taking = asyncio.ensure_future(anext(listings))
        try:
            with pytest.raises(ChannelLost):
                async with asyncio.timeout(0.5):
                    await ends.connection.progress_timeout.watch(0.05)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def test_an_agent_without_a_pending_listing_does_not_time_out(ends):
    async with receiving(ends), ends.connection.listing(1, b"", digest=False):
        job = ends.channel.of(ListTree)[0].job
        ends.channel.send(*(lines(job, b"%d" % n) for n in range(CREDIT)))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await ends.connection.progress_timeout.watch(0.02)


async def test_a_listing_is_read_frame_by_frame_and_each_gives_credit(ends):
    async with receiving(ends):
        got = []
        async with ends.connection.listing(3, b"d", digest=True) as listings:
            (request,) = ends.channel.of(ListTree)
            assert request == ListTree(request.job, 3, b"d", True, CREDIT)
            ends.channel.send(lines(request.job, b"d/a"), lines(request.job, b"d/b"))
            ends.channel.send(lines(request.job, end=True))
            async for listing in listings:
                got += [line.path for line in listing.lines]

    assert got == [b"d/a", b"d/b"]
    assert ends.channel.of(More) == [
        More(request.job, 1),
        More(request.job, 1),
        More(request.job, 0),
    ]


async def test_credit_is_given_only_for_frames_that_were_read(ends):
    async with receiving(ends), ends.connection.listing(1, b"", digest=False) as listings:
        job = ends.channel.of(ListTree)[0].job
        for number in range(CREDIT):
            ends.channel.send(lines(job, b"%d" % number))
        await anext(listings)
        assert ends.channel.of(More) == []
        await anext(listings)
        assert ends.channel.of(More) == [More(job, 1)]


async def test_a_listing_beyond_its_credit_is_a_protocol_error(ends):
    async with receiving(ends) as task, ends.connection.listing(1, b"", digest=False):
        job = ends.channel.of(ListTree)[0].job
        ends.channel.send(*(lines(job, b"%d" % number) for number in range(CREDIT + 1)))
        with pytest.raises(ProtocolError, match="more than it was asked for"):
            await task


@pytest.mark.parametrize("end", [True, False])
async def test_a_listing_without_a_request_is_a_protocol_error(ends, end):
    ends.channel.send(lines(0, b"a", end=end))
    with pytest.raises(ProtocolError, match="more than it was asked for"):
        await ends.connection.receive()


@pytest.mark.parametrize(("names", "ends_in"), [(1, ChannelLost), (500, TimeoutError)])
async def test_single_lines_at_long_intervals_are_no_progress_and_whole_frames_are(
    ends, monkeypatch, names, ends_in
):
    monkeypatch.setattr(listings_module, "LINES_PER_SECOND", 1000)

    async def drip(listings, job):
        for number in range(1000):
            ends.channel.send(lines(job, *(b"%06d" % (number * names + n) for n in range(names))))
            await anext(listings)
            await asyncio.sleep(0.02)

    async with receiving(ends), ends.connection.listing(1, b"", digest=False) as listings:
        job = ends.channel.of(ListTree)[0].job
        dripping = asyncio.ensure_future(drip(listings, job))
        try:
            with pytest.raises(ends_in):
                async with asyncio.timeout(0.6):
                    await ends.connection.progress_timeout.watch(0.2)
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def test_one_listing_runs_at_a_time_and_frames_of_an_abandoned_one_are_dropped(ends):
    async with receiving(ends):
        async with ends.connection.listing(1, b"", digest=False) as listings:
            job = ends.channel.of(ListTree)[0].job
            ends.channel.send(*(lines(job, b"%d" % n) for n in range(CREDIT)))
            await anext(listings)
        assert ends.channel.of(More)[-1] == More(job, 0)
        async with ends.connection.listing(1, b"", digest=False) as listings:
            job = ends.channel.of(ListTree)[1].job
            ends.channel.send(lines(job, b"new", end=True))
            got = [listing async for listing in listings]

    assert [line.path for listing in got for line in listing.lines] == [b"new"]
