"""Large files: a version that is not the current one any more never ends."""

from replicator.engine.parcel import CHUNK
from replicator.wire.messages import Data
from tests.support.route import BIG
from tests.support.waiting import eventually


async def test_a_large_file_that_changes_while_it_is_read_is_cancelled_and_sent_anew(route):
    route.write(b"big", BIG)
    route.source.after_read = lambda _path: route.source.write(b"big", BIG[::-1])
    async with route.open():
        route.mark(b"big")
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "the end")
        assert not any(data.end for data in route.channel.of(Data))
        assert route.looked_again == [b"big"]

        route.source.after_read = lambda _path: None
        route.survey()
        (broken,) = route.sent(b"big")
        route.channel.payloads.clear()
        route.refuse(broken.number, "digest_mismatch")
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the new one")

    assert b"".join(route.contents()) == BIG[::-1]


async def test_a_large_file_marked_again_before_its_end_never_ends_and_has_another_number(route):
    route.write(b"big", BIG)
    async with route.open():
        route.channel.open.clear()
        route.mark(b"big")
        await route.times_sent(b"big", 1)
        await eventually(lambda: len(route.courier._prepared) == 3, "all frames but the first")
        route.mark(b"big")
        route.channel.open.set()
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "a cancel")
        assert not any(data.end for data in route.channel.of(Data))
        route.make_room()
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the end")

    first, second = route.sent(b"big")
    *_, last = route.channel.of(Data)
    assert last.number == second.number != first.number


async def test_the_rest_of_a_large_file_that_was_refused_is_neither_read_nor_sent(route):
    chunks = 40
    route.write(b"big", b"x" * (CHUNK * chunks))
    async with route.open():
        route.mark(b"big")
        refused = await route.times_sent(b"big", 1)
        route.refuse(refused.number, "no_space", "No space left on device")
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "a cancel")
        route.make_room()
        content = [payload for payload in route.channel.payloads if payload]
        assert len(content) < chunks // 2
        assert len(route.source.reads) < chunks // 2
        assert not any(data.end for data in route.channel.of(Data))
        assert len(route.sent(b"big")) == 1
