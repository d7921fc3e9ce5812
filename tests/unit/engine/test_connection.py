"""The link: what an agent says is believed within limits, and silence is an end."""

import asyncio
from contextlib import suppress

import pytest

from replicator.core.pending import Key
from replicator.engine.changes.create import delete_path, link_file, set_attributes
from replicator.engine.frontend.in_flight import WORK
from replicator.errors import AgentFailed, ChannelLost, ProtocolError
from replicator.model import FILE, Entry
from replicator.wire import frames, messages
from replicator.wire.messages import Acks, Hello, More, Opened, OpenTree
from tests.support.ends import receiving
from tests.support.waiting import eventually

LARGE = Entry(FILE, 0o644, WORK, 7, b"", b"d" * 32)
HELLO = Hello(messages.VERSION, messages.FEATURES, "an agent")


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


async def test_an_agent_that_can_do_more_or_less_is_welcome_and_what_both_can_is_used(ends):
    async with receiving(ends):
        features = (*messages.REQUIRED, "boot", "telepathy")
        ends.channel.say(HELLO._replace(features=features, boot="12ab-34"))
        await ends.link.greet()
    assert ends.link.features == {*messages.REQUIRED, "boot"}
    assert ends.link.boot == "12ab-34"
    assert "tree.durable" in ends.link.unsupported(OpenTree(1, b"/site", durable=True))
    assert ends.link.unsupported(OpenTree(1, b"/site")) == ""


@pytest.mark.parametrize("boot", ["x\nboot: y", "", "A", "a" * 65])
async def test_a_boot_that_is_none_is_not_believed(ends, boot):
    async with receiving(ends):
        ends.channel.say(HELLO._replace(boot=boot))
        await ends.link.greet()
    assert ends.link.boot == ""


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
        one, two = await ends.send(delete_path(1, b"a")), await ends.send(delete_path(1, b"b"))
        assert all(ends.link.is_in_flight(in_flight.part.number) for in_flight in (one, two))
        ends.channel.say(
            Acks((one.part.number,), ((two.part.number, "denied", "EACCES"),), ends.link.bytes_sent)
        )
        await eventually(lambda: len(ends.answers) == 2, "the answers")

    assert ends.answers == [(one, "", ""), (two, "denied", "EACCES")]
    assert not any(ends.link.is_in_flight(in_flight.part.number) for in_flight in (one, two))
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
    in_flight = await ends.send(delete_path(1, b"a"))
    ends.channel.say(Acks((in_flight.part.number, in_flight.part.number), (), 0))
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
    await ends.send(delete_path(1, b"a"))
    with pytest.raises(ChannelLost, match=r"no answer for 0\.05 seconds with 1 changes"):
        await ends.link.watch_timeout(0.05)


async def test_silence_without_debts_is_no_end(ends):
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await ends.link.watch_timeout(0.02)


async def test_room_depends_on_what_was_taken(ends):
    async with receiving(ends):
        assert ends.link.has_room
        ends.link.bytes_sent += ends.link.window.size
        ends.link.window.sent(ends.link.bytes_sent, 0.0)
        assert not ends.link.has_room
        ends.channel.say(Acks((), (), ends.link.bytes_sent))
        await eventually(lambda: ends.link.has_room, "room")


async def test_requests_that_nobody_acknowledges_fill_no_room(ends):
    ends.link.bytes_sent += ends.link.window.size
    assert ends.link.has_room


@pytest.mark.parametrize("taken", [-1, 1])
async def test_an_agent_that_has_dealt_with_what_was_not_sent_is_ended(ends, taken):
    await ends.send(delete_path(1, b"a"))
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
                        await ends.link.watch_timeout(0.1)
            async with ends.link.listing(1, b"", digest=False):
                with pytest.raises(ChannelLost, match="a listing"):
                    await ends.link.watch_timeout(0.1)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


@pytest.mark.parametrize(
    "change",
    [
        set_attributes(1, b"f", LARGE, content=True),
        set_attributes(
            1, b"f", LARGE, content=False
        ),  # the agent copies a file that has another name
        link_file(1, b"f", LARGE, b"twin", copy=True),
    ],
    ids=["hash", "attributes", "copy"],
)
async def test_signs_of_life_keep_the_connection_while_the_agent_works_on_a_change(ends, change):
    async def live():
        while True:
            await asyncio.sleep(5)
            ends.channel.say(Acks((), (), 0))

    async with receiving(ends) as receiving_task:
        in_flight = await ends.send(change)
        living = asyncio.ensure_future(live())
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(500):  # more than EMPTY_ACKS signs
                    await ends.link.watch_timeout(60)
            assert not receiving_task.done()
            ends.channel.say(Acks((in_flight.part.number,), (), 0))
            await ends.send(delete_path(1, b"a"))  # which takes no time
            with pytest.raises(ChannelLost, match="1 changes"):
                await ends.link.watch_timeout(60)
        finally:
            living.cancel()


async def test_bulk_waits_while_the_agent_has_much_to_hash(ends):
    async with receiving(ends):
        in_flight = await ends.send(set_attributes(1, b"f", LARGE, content=True))
        ends.channel.say(Acks((), (), ends.link.bytes_sent))
        await eventually(lambda: ends.moves == 1, "the acknowledgement")
        assert not ends.link.has_room
        ends.channel.say(Acks((in_flight.part.number,), (), ends.link.bytes_sent))
        await eventually(lambda: ends.link.has_room, "room")


async def test_a_flight_knows_its_key(ends):
    in_flight = await ends.send(delete_path(4, b"p"))
    assert in_flight.part.key == Key(4, b"p")
