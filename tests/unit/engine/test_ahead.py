"""Reading ahead: one after the other, not too far, and each is looked at once."""

import asyncio

import pytest

from replicator.engine.ahead import MOST_AHEAD, ReadAhead
from replicator.errors import SourceError
from tests.support.waiting import eventually


class Reading:
    """Large files that are read as fast as the test lets them."""

    def __init__(self):
        self.begun, self.looked, self.awake = [], [], 0
        self.go = asyncio.Event()
        self.ahead = ReadAhead(self._read, self._wake)
        self.task = asyncio.get_running_loop().create_task(self.ahead.run())

    async def _read(self, path, force):
        self.begun.append((path, force))
        await self.go.wait()

    def _wake(self):
        self.awake += 1

    async def look(self):
        async def one(path):
            assert path not in self.ahead
            self.looked.append(path)

        await self.ahead.look(one)


@pytest.fixture
async def reading():
    made = Reading()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_nothing_is_looked_at_before_it_has_been_read(reading):
    reading.ahead.want(b"a", force=True)
    await eventually(lambda: reading.begun == [(b"a", True)], "a reading")
    await reading.look()
    assert reading.looked == []
    assert b"a" in reading.ahead

    reading.go.set()
    await eventually(lambda: reading.awake == 1, "its end")
    await reading.look()
    await reading.look()
    assert reading.looked == [b"a"]
    assert len(reading.ahead) == 0


async def test_only_so_many_wait_for_their_look_and_the_next_are_read_then(reading):
    reading.go.set()
    paths = [b"%d" % number for number in range(MOST_AHEAD + 2)]
    for path in paths:
        reading.ahead.want(path, force=False)
    await eventually(lambda: reading.awake == MOST_AHEAD, "the first")
    await asyncio.sleep(0.01)
    assert len(reading.begun) == MOST_AHEAD
    assert len(reading.ahead) == len(paths)

    await reading.look()
    await eventually(lambda: reading.awake == len(paths), "the others")
    await reading.look()
    assert reading.looked == paths


async def test_after_a_look_that_failed_the_next_is_read(reading):
    async def fail(_path):
        raise SourceError("in doubt")

    reading.go.set()
    reading.ahead.want(b"a", force=False)
    await eventually(lambda: reading.awake == 1, "a reading")
    with pytest.raises(SourceError):
        await reading.ahead.look(fail)
    reading.ahead.want(b"b", force=False)
    await eventually(lambda: reading.awake == 2, "another")
    await reading.look()
    assert reading.looked == [b"b"]
