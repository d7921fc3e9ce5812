"""Connection: messages of the agent are checked, and an agent that does not answer times out."""

import asyncio
from contextlib import suppress

import pytest

from replicator.core.pending import Key
from replicator.engine.changes.create import attributes_change, delete_change, link_change
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
        ends.channel.send(HELLO)
        await ends.connection.exchange_hello()

    assert ends.connection.agent.about == "an agent"
    assert ends.channel.of(Hello)[0].version == messages.VERSION


@pytest.mark.parametrize(
    "hello", [HELLO._replace(version=messages.VERSION + 1), HELLO._replace(features=("delta",))]
)
async def test_an_agent_with_another_protocol_is_refused_with_advice(ends, hello):
    async with receiving(ends):
        ends.channel.send(hello)
        with pytest.raises(ProtocolError, match="same release"):
            await ends.connection.exchange_hello()


async def test_features_that_both_sides_have_are_used(ends):
    async with receiving(ends):
        features = (*messages.REQUIRED, "boot", "telepathy")
        ends.channel.send(HELLO._replace(features=features, boot="12ab-34"))
        await ends.connection.exchange_hello()
    assert ends.connection.agent.features == {*messages.REQUIRED, "boot"}
    assert ends.connection.agent.boot == "12ab-34"
    assert "tree.durable" in ends.connection.agent.unsupported(OpenTree(1, b"/site", durable=True))
    assert ends.connection.agent.unsupported(OpenTree(1, b"/site")) == ""


@pytest.mark.parametrize("boot", ["x\nboot: y", "", "A", "a" * 65])
async def test_an_invalid_boot_id_is_ignored(ends, boot):
    async with receiving(ends):
        ends.channel.send(HELLO._replace(boot=boot))
        await ends.connection.exchange_hello()
    assert ends.connection.agent.boot == ""


async def test_a_tree_is_opened_or_the_reason_is_raised(ends):
    async with receiving(ends):
        good = asyncio.ensure_future(ends.connection.open_tree(OpenTree(1, b"/good")))
        bad = asyncio.ensure_future(ends.connection.open_tree(OpenTree(2, b"/bad")))
        await eventually(lambda: len(ends.channel.of(OpenTree)) == 2, "both requests")
        ends.channel.send(Opened(2, -1, -1, "No such file"), Opened(1, 33, 34))

        assert (await good).uid == 33
        with pytest.raises(AgentFailed, match=r"'/bad' cannot be used: No such file"):
            await bad


async def test_an_answer_for_a_tree_that_was_not_requested_is_a_protocol_error(ends):
    ends.channel.send(Opened(2, 5, 6))
    with pytest.raises(ProtocolError, match="not asked for"):
        await ends.connection.receive()


async def test_every_answer_goes_to_its_change(ends):
    async with receiving(ends):
        one, two = await ends.send(delete_change(1, b"a")), await ends.send(delete_change(1, b"b"))
        assert all(ends.connection.is_in_flight(in_flight.part.number) for in_flight in (one, two))
        ends.channel.send(
            Acks(
                (one.part.number,),
                ((two.part.number, "denied", "EACCES"),),
                ends.connection.bytes_sent,
            )
        )
        await eventually(lambda: len(ends.answers) == 2, "the answers")

    assert ends.answers == [(one, "", ""), (two, "denied", "EACCES")]
    assert not any(ends.connection.is_in_flight(in_flight.part.number) for in_flight in (one, two))
    assert ends.rooms == 1


@pytest.mark.parametrize(
    "acks", [Acks((987654,), (), 0), Acks((), ((987654, "failed", ""),), 0)], ids=["done", "no"]
)
async def test_an_answer_to_an_unknown_number_is_a_protocol_error(ends, acks):
    ends.channel.send(acks)
    with pytest.raises(ProtocolError, match="not under way"):
        await ends.connection.receive()
    assert ends.answers == []


async def test_a_second_answer_is_a_protocol_error(ends):
    in_flight = await ends.send(delete_change(1, b"a"))
    ends.channel.send(Acks((in_flight.part.number, in_flight.part.number), (), 0))
    with pytest.raises(ProtocolError):
        await ends.connection.receive()
    assert len(ends.answers) == 1


@pytest.mark.parametrize("message", [OpenTree(1, b"/x"), More(1, 1)])
async def test_a_message_that_an_agent_never_sends_is_a_protocol_error(ends, message):
    ends.channel.send(message)
    with pytest.raises(ProtocolError, match="unexpected"):
        await ends.connection.receive()


async def test_a_second_hello_is_a_protocol_error(ends):
    ends.channel.send(HELLO, HELLO)
    with pytest.raises(ProtocolError, match="unexpected"):
        await ends.connection.receive()


async def test_bytes_that_are_no_frame_are_a_protocol_error(ends):
    ends.channel.send_raw(b"\xff" * 100)
    with pytest.raises(ProtocolError):
        await ends.connection.receive()


async def test_a_frame_may_arrive_in_any_pieces(ends):
    async with receiving(ends):
        for byte in frames.encode(HELLO.header()):
            ends.channel.send_raw(bytes([byte]))
        await ends.connection.exchange_hello()


async def test_the_end_of_the_stream_is_reported_with_the_agents_last_output(ends):
    ends.channel.hang_up()
    with pytest.raises(ChannelLost, match="last words"):
        await ends.connection.receive()


async def test_no_answer_to_a_change_in_flight_ends_the_connection(ends):
    await ends.send(delete_change(1, b"a"))
    with pytest.raises(ChannelLost, match=r"no answer to 1 changes for 0\.05 seconds"):
        await ends.connection.progress_timeout.watch(0.05)


async def test_no_message_while_nothing_is_in_flight_keeps_the_connection(ends):
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await ends.connection.progress_timeout.watch(0.02)


async def test_acknowledged_bytes_make_room_for_more_bulk(ends):
    async with receiving(ends):
        assert ends.connection.has_room
        ends.connection.bytes_sent += ends.connection.window.size
        ends.connection.window.sent(ends.connection.bytes_sent, 0.0)
        assert not ends.connection.has_room
        ends.channel.send(Acks((), (), ends.connection.bytes_sent))
        await eventually(lambda: ends.connection.has_room, "room")


async def test_requests_without_acknowledgement_take_no_room(ends):
    ends.connection.bytes_sent += ends.connection.window.size
    assert ends.connection.has_room


@pytest.mark.parametrize("taken", [-1, 1])
async def test_an_acknowledgement_of_bytes_that_were_not_sent_is_a_protocol_error(ends, taken):
    await ends.send(delete_change(1, b"a"))
    sent = ends.connection.bytes_sent
    ends.channel.send(Acks((), (), sent), Acks((), (), sent + taken))
    with pytest.raises(ProtocolError, match="has dealt with"):
        await ends.connection.receive()


async def test_signs_of_life_are_progress_only_while_contents_are_read(ends):
    async def live():
        while True:
            ends.channel.send(Acks((), (), 0))
            await asyncio.sleep(0.01)

    async with receiving(ends), asyncio.timeout(5):
        living = asyncio.ensure_future(live())
        try:
            async with ends.connection.listing(1, b"", digest=True):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await ends.connection.progress_timeout.watch(0.1)
            async with ends.connection.listing(1, b"", digest=False):
                with pytest.raises(ChannelLost, match="a listing"):
                    await ends.connection.progress_timeout.watch(0.1)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


@pytest.mark.parametrize(
    "change",
    [
        attributes_change(1, b"f", LARGE, content=True),
        attributes_change(
            1, b"f", LARGE, content=False
        ),  # the agent copies a file that has another name
        link_change(1, b"f", LARGE, b"origin", copy=True),
    ],
    ids=["hash", "attributes", "copy"],
)
async def test_signs_of_life_keep_the_connection_while_the_agent_works_on_a_change(ends, change):
    async def live():
        while True:
            await asyncio.sleep(5)
            ends.channel.send(Acks((), (), 0))

    async with receiving(ends) as receiving_task:
        in_flight = await ends.send(change)
        living = asyncio.ensure_future(live())
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(500):  # a hundred signs
                    await ends.connection.progress_timeout.watch(60)
            assert not receiving_task.done()
            ends.channel.send(Acks((in_flight.part.number,), (), 0))
            await ends.send(delete_change(1, b"a"))  # which takes no time
            with pytest.raises(ChannelLost, match="1 changes"):
                await ends.connection.progress_timeout.watch(60)
        finally:
            living.cancel()


@pytest.mark.parametrize("padding", [b"", bytes(20_000)], ids=["small", "padded"])
async def test_a_flood_of_signs_of_life_ends_the_connection(ends, padding):
    async with receiving(ends) as receiving_task:
        await ends.send(attributes_change(1, b"f", LARGE, content=True))
        flood = frames.encode(Acks((), (), 0).header(), [padding])
        for _ in range(100_000 // len(flood)):
            ends.channel.send_raw(flood)
        with pytest.raises(ProtocolError, match="again and again"):
            await receiving_task


async def test_an_agent_may_acknowledge_each_of_many_small_frames(ends):
    async with receiving(ends) as receiving_task:
        for name in range(5000):
            in_flight = await ends.send(delete_change(1, b"%d" % name))
            ends.channel.send(Acks((), (), ends.connection.bytes_sent))
            ends.channel.send(Acks((in_flight.part.number,), (), ends.connection.bytes_sent))
        await eventually(lambda: len(ends.answers) == 5000, "all answers")
        assert not receiving_task.done()


async def test_bulk_waits_while_the_agent_has_much_to_hash(ends):
    async with receiving(ends):
        in_flight = await ends.send(attributes_change(1, b"f", LARGE, content=True))
        ends.channel.send(Acks((), (), ends.connection.bytes_sent))
        await eventually(lambda: ends.rooms == 1, "the acknowledgement")
        assert not ends.connection.has_room
        ends.channel.send(Acks((in_flight.part.number,), (), ends.connection.bytes_sent))
        await eventually(lambda: ends.connection.has_room, "room")


async def test_a_change_in_flight_has_a_key(ends):
    in_flight = await ends.send(delete_change(4, b"p"))
    assert in_flight.part.key == Key(4, b"p")


async def test_frames_for_which_the_agent_copies_much_leave_no_room_until_they_are_taken(ends):
    frame = frames.encode(messages.Data(1, []).header())
    async with receiving(ends):
        await ends.connection.send([frame], (), work=WORK - 1)
        ends.channel.send(Acks((), (), 0))
        assert ends.connection.has_room
        await ends.connection.send([frame], (), work=WORK)
        ends.channel.send(Acks((), (), len(frame)))
        await eventually(lambda: ends.rooms == 2, "two answers")
        assert not ends.connection.has_room
        ends.channel.send(Acks((), (), 2 * len(frame)))
        await eventually(lambda: ends.connection.has_room, "room")
