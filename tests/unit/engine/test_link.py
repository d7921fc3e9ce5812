"""The link: what an agent says is believed within limits, and silence is an end."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from replicator.core.dirty import Key
from replicator.engine import link as link_module
from replicator.engine.link import LISTING_CREDIT, Flight, Link
from replicator.engine.parcel import gone, part_of, single
from replicator.errors import AgentFailed, ChannelLost, ProtocolError
from replicator.model import FILE, Entry, Listed
from replicator.wire import frames, messages
from replicator.wire.messages import Acks, Hello, Listing, ListTree, More, Opened, OpenTree
from tests.support.fakes import FakeChannel
from tests.support.waiting import eventually

HELLO = Hello(messages.VERSION, messages.FEATURES, "an agent")


class Ends:
    """A link, its channel, and all that it answered."""

    def __init__(self):
        self.channel = FakeChannel()
        self.answers = []
        self.moves = 0
        self.link = Link(self.channel, lambda *answer: self.answers.append(answer), self._moved)

    def _moved(self):
        self.moves += 1

    async def send(self, change):
        made = single(change)
        flight = Flight(part_of(change), 1, bulk=True)
        await self.link.send(made.frames, [flight])
        return flight


@pytest.fixture
async def ends():
    return Ends()


@asynccontextmanager
async def receiving(ends):
    task = asyncio.get_running_loop().create_task(ends.link.receive())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_hellos_are_exchanged(ends):
    async with receiving(ends):
        ends.channel.say(HELLO)
        await ends.link.greet()

    assert ends.link.about == "an agent"
    assert ends.channel.of(Hello)[0].version == messages.VERSION


@pytest.mark.parametrize(
    "hello", [HELLO._replace(version=messages.VERSION + 1), HELLO._replace(features=("delta",))]
)
async def test_an_agent_of_another_release_is_refused_with_advice(ends, hello):
    async with receiving(ends):
        ends.channel.say(hello)
        with pytest.raises(ProtocolError, match="same release"):
            await ends.link.greet()


async def test_an_agent_that_can_do_more_is_welcome(ends):
    async with receiving(ends):
        ends.channel.say(HELLO._replace(features=(*messages.FEATURES, "telepathy")))
        await ends.link.greet()


async def test_a_tree_is_opened_or_the_reason_is_told(ends):
    async with receiving(ends):
        good = asyncio.ensure_future(ends.link.open_tree(OpenTree(1, b"/good")))
        bad = asyncio.ensure_future(ends.link.open_tree(OpenTree(2, b"/bad")))
        await eventually(lambda: len(ends.channel.of(OpenTree)) == 2, "both requests")
        ends.channel.say(Opened(2, -1, -1, "No such file"), Opened(1, 33, 34))

        assert (await good).uid == 33
        with pytest.raises(AgentFailed, match=r"'/bad' cannot be used: No such file"):
            await bad


async def test_a_tree_that_nobody_asked_for_is_not_opened(ends):
    ends.channel.say(Opened(2, 5, 6))
    with pytest.raises(ProtocolError, match="not asked for"):
        await ends.link.receive()


async def test_every_answer_goes_to_its_change(ends):
    async with receiving(ends):
        one, two = await ends.send(gone(1, b"a")), await ends.send(gone(1, b"b"))
        assert not ends.link.idle
        ends.channel.say(
            Acks((one.part.number,), ((two.part.number, "denied", "EACCES"),), ends.link.bytes_sent)
        )
        await eventually(lambda: len(ends.answers) == 2, "the answers")

    assert ends.answers == [(one, "", ""), (two, "denied", "EACCES")]
    assert ends.link.idle
    assert ends.moves == 1


@pytest.mark.parametrize(
    "acks", [Acks((987654,), (), 0), Acks((), ((987654, "failed", ""),), 0)], ids=["done", "no"]
)
async def test_an_answer_to_an_unknown_number_is_a_protocol_error(ends, acks):
    ends.channel.say(acks)
    with pytest.raises(ProtocolError, match="not under way"):
        await ends.link.receive()
    assert ends.answers == []


async def test_a_second_answer_is_a_protocol_error(ends):
    flight = await ends.send(gone(1, b"a"))
    ends.channel.say(Acks((flight.part.number, flight.part.number), (), 0))
    with pytest.raises(ProtocolError):
        await ends.link.receive()
    assert len(ends.answers) == 1


@pytest.mark.parametrize("message", [OpenTree(1, b"/x"), More(1, 1)])
async def test_a_message_that_an_agent_never_says_is_a_protocol_error(ends, message):
    ends.channel.say(message)
    with pytest.raises(ProtocolError, match="unexpected"):
        await ends.link.receive()


async def test_a_second_hello_is_a_protocol_error(ends):
    ends.channel.say(HELLO, HELLO)
    with pytest.raises(ProtocolError, match="unexpected"):
        await ends.link.receive()


async def test_bytes_that_are_no_frame_are_a_protocol_error(ends):
    ends.channel.say_raw(b"\xff" * 100)
    with pytest.raises(ProtocolError):
        await ends.link.receive()


async def test_a_frame_may_arrive_in_any_pieces(ends):
    async with receiving(ends):
        for byte in frames.encode(HELLO.header()):
            ends.channel.say_raw(bytes([byte]))
        await ends.link.greet()


async def test_the_end_of_the_stream_comes_with_the_agents_last_words(ends):
    ends.channel.hang_up()
    with pytest.raises(ChannelLost, match="last words"):
        await ends.link.receive()


async def test_silence_with_changes_under_way_is_an_end(ends):
    await ends.send(gone(1, b"a"))
    with pytest.raises(ChannelLost, match=r"no answer for 0\.05 seconds with 1 changes"):
        await ends.link.watch_silence(0.05)


async def test_silence_without_debts_is_no_end(ends):
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await ends.link.watch_silence(0.02)


async def test_silence_in_a_listing_is_an_end(ends):
    async with receiving(ends), ends.link.listing(1, b"", digest=False) as listings:
        taking = asyncio.ensure_future(anext(listings))
        try:
            with pytest.raises(ChannelLost):
                async with asyncio.timeout(0.5):
                    await ends.link.watch_silence(0.05)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def test_an_agent_that_owes_no_listing_may_be_silent(ends):
    async with receiving(ends), ends.link.listing(1, b"", digest=False):
        job = ends.channel.of(ListTree)[0].job
        ends.channel.say(*(lines(job, b"%d" % n) for n in range(LISTING_CREDIT)))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await ends.link.watch_silence(0.02)


async def test_room_depends_on_what_was_taken(ends):
    async with receiving(ends):
        assert ends.link.has_room
        ends.link.bytes_sent += ends.link.window.size
        ends.link._sent_at.append((ends.link.bytes_sent, 0.0))
        assert not ends.link.has_room
        ends.channel.say(Acks((), (), ends.link.bytes_sent))
        await eventually(lambda: ends.link.has_room, "room")


def lines(job, *names, end=False):
    entry = Entry(FILE, 0o644, 1, 1)
    return Listing(job, tuple(Listed(name, entry, 0, 0) for name in names), (), end)


async def test_a_listing_is_taken_frame_by_frame_and_each_gives_credit(ends):
    async with receiving(ends):
        got = []
        async with ends.link.listing(3, b"d", digest=True) as listings:
            (request,) = ends.channel.of(ListTree)
            assert request == ListTree(request.job, 3, b"d", True, LISTING_CREDIT)
            ends.channel.say(lines(request.job, b"d/a"), lines(request.job, b"d/b"))
            ends.channel.say(lines(request.job, end=True))
            async for listing in listings:
                got += [line.path for line in listing.lines]

    assert got == [b"d/a", b"d/b"]
    assert ends.channel.of(More) == [
        More(request.job, 1),
        More(request.job, 1),
        More(request.job, 0),
    ]


async def test_credit_is_given_only_for_what_was_taken(ends):
    async with receiving(ends), ends.link.listing(1, b"", digest=False) as listings:
        job = ends.channel.of(ListTree)[0].job
        for number in range(LISTING_CREDIT):
            ends.channel.say(lines(job, b"%d" % number))
        await anext(listings)
        assert ends.channel.of(More) == []
        await anext(listings)
        assert ends.channel.of(More) == [More(job, 1)]


async def test_an_agent_that_lists_more_than_its_credit_is_ended(ends):
    async with receiving(ends) as task, ends.link.listing(1, b"", digest=False):
        job = ends.channel.of(ListTree)[0].job
        ends.channel.say(*(lines(job, b"%d" % number) for number in range(LISTING_CREDIT + 1)))
        with pytest.raises(ProtocolError, match="more than it was asked for"):
            await task


@pytest.mark.parametrize("end", [True, False])
async def test_an_agent_that_lists_without_being_asked_is_ended(ends, end):
    ends.channel.say(lines(0, b"a", end=end))
    with pytest.raises(ProtocolError, match="more than it was asked for"):
        await ends.link.receive()


async def test_requests_that_nobody_acknowledges_fill_no_room(ends):
    ends.link.bytes_sent += ends.link.window.size
    assert ends.link.has_room


@pytest.mark.parametrize("taken", [-1, 1])
async def test_an_agent_that_has_dealt_with_what_was_not_sent_is_ended(ends, taken):
    await ends.send(gone(1, b"a"))
    sent = ends.link.bytes_sent
    ends.channel.say(Acks((), (), sent), Acks((), (), sent + taken))
    with pytest.raises(ProtocolError, match="has dealt with"):
        await ends.link.receive()


async def test_signs_of_life_are_no_progress_but_while_contents_are_read(ends):
    async def live():
        while True:
            ends.channel.say(Acks((), (), 0))
            await asyncio.sleep(0.01)

    async with receiving(ends), asyncio.timeout(5):
        living = asyncio.ensure_future(live())
        try:
            async with ends.link.listing(1, b"", digest=True):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await ends.link.watch_silence(0.1)
            async with ends.link.listing(1, b"", digest=False):
                with pytest.raises(ChannelLost, match="a listing"):
                    await ends.link.watch_silence(0.1)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


@pytest.mark.parametrize(("names", "ends_in"), [(1, ChannelLost), (500, TimeoutError)])
async def test_a_drip_of_single_lines_is_no_progress_and_whole_frames_are(
    ends, monkeypatch, names, ends_in
):
    monkeypatch.setattr(link_module, "LINES_PER_SECOND", 1000)

    async def drip(listings, job):
        for number in range(1000):
            ends.channel.say(lines(job, *(b"%06d" % (number * names + n) for n in range(names))))
            await anext(listings)
            await asyncio.sleep(0.02)

    async with receiving(ends), ends.link.listing(1, b"", digest=False) as listings:
        job = ends.channel.of(ListTree)[0].job
        dripping = asyncio.ensure_future(drip(listings, job))
        try:
            with pytest.raises(ends_in):
                async with asyncio.timeout(0.6):
                    await ends.link.watch_silence(0.2)
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def test_one_listing_at_a_time_and_what_is_left_of_an_abandoned_one_is_dropped(ends):
    async with receiving(ends):
        async with ends.link.listing(1, b"", digest=False) as listings:
            job = ends.channel.of(ListTree)[0].job
            ends.channel.say(*(lines(job, b"%d" % n) for n in range(LISTING_CREDIT)))
            await anext(listings)
        assert ends.channel.of(More)[-1] == More(job, 0)
        async with ends.link.listing(1, b"", digest=False) as listings:
            job = ends.channel.of(ListTree)[1].job
            ends.channel.say(lines(job, b"new", end=True))
            got = [listing async for listing in listings]

    assert [line.path for listing in got for line in listing.lines] == [b"new"]


async def test_a_flight_knows_its_key(ends):
    flight = await ends.send(gone(4, b"p"))
    assert flight.part.key == Key(4, b"p")
