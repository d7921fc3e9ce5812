"""Reading ahead: the smallest first, not too far, no large file behind a huge one, and each is checked once."""

import asyncio

import pytest

from replicator.engine.ingest.background import MOST_FINISHED, BackgroundReader
from replicator.engine.ingest.contents import HUGE
from replicator.engine.ingest.scan_result import LargeFile
from replicator.errors import SourceError
from tests.support.waiting import eventually, turns


class Reading:
    """Large files that are read as fast as the test lets them."""

    def __init__(self):
        self.begun, self.checked, self.awake = [], [], 0
        self.go, self.go_on_with_huge = asyncio.Event(), asyncio.Event()
        self.reader = BackgroundReader(self._read, self._wake)
        self.task = asyncio.get_running_loop().create_task(self.reader.run())

    async def _read(self, path, force):
        self.begun.append((path, force))
        if path.startswith(b"huge"):
            await self.go_on_with_huge.wait()
        await self.go.wait()

    def want(self, path, *, force=False, size=100):
        self.reader.add(LargeFile(path, force, size))

    def _wake(self):
        self.awake += 1

    async def check(self):
        async def one(path):
            assert path not in self.reader
            self.checked.append(path)

        await self.reader.check_finished(one)


@pytest.fixture
async def reading():
    made = Reading()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_no_file_is_checked_before_it_was_read(reading):
    reading.want(b"a", force=True)
    await eventually(lambda: reading.begun == [(b"a", True)], "a reading")
    await reading.check()
    assert reading.checked == []
    assert b"a" in reading.reader

    reading.go.set()
    await eventually(lambda: reading.awake == 1, "its end")
    await reading.check()
    await reading.check()
    assert reading.checked == [b"a"]
    assert len(reading.reader) == 0


async def test_reading_stops_while_two_files_of_a_queue_wait_for_their_check(reading):
    reading.go.set()
    paths = [b"%d" % number for number in range(MOST_FINISHED + 2)]
    for path in paths:
        reading.want(path, force=False)
    await eventually(lambda: reading.awake == MOST_FINISHED, "the first")
    await turns(10)
    assert len(reading.begun) == MOST_FINISHED
    assert len(reading.reader) == len(paths)

    await reading.check()
    await eventually(lambda: reading.awake == len(paths), "the others")
    await reading.check()
    assert reading.checked == paths


async def test_after_a_failed_check_the_next_file_is_read(reading):
    async def fail(_path):
        raise SourceError("in doubt")

    reading.go.set()
    reading.want(b"a", force=False)
    await eventually(lambda: reading.awake == 1, "a reading")
    with pytest.raises(SourceError):
        await reading.reader.check_finished(fail)
    reading.want(b"b", force=False)
    await eventually(lambda: reading.awake == 2, "another")
    await reading.check()
    assert reading.checked == [b"b"]


async def test_a_huge_file_does_not_delay_a_large_one(reading):
    reading.go.set()
    for number in range(3):
        reading.want(b"huge %d" % number, size=HUGE + 1)
    await eventually(lambda: reading.begun, "a huge one")
    reading.want(b"large")
    await eventually(lambda: reading.awake == 1, "the large one")
    await reading.check()
    assert reading.checked == [b"large"]
    assert len(reading.reader) == 3


async def test_the_smallest_is_read_first(reading):
    reading.want(b"first", size=900)
    await eventually(lambda: reading.begun, "a reading")
    for size in (800, 200, 500):
        reading.want(b"%d" % size, size=size)
    reading.go.set()
    await eventually(lambda: reading.awake == MOST_FINISHED, "the first ones")
    await reading.check()
    await eventually(lambda: reading.awake == 4, "the others")
    assert [path for path, _ in reading.begun] == [b"first", b"200", b"500", b"800"]


async def test_a_file_that_grew_from_large_to_huge_is_read_once(reading):
    reading.want(b"one")
    await eventually(lambda: reading.begun, "a reading")
    reading.want(b"grows")
    reading.want(b"grows", size=HUGE + 1)
    reading.go.set()
    await eventually(lambda: reading.awake == 2, "both")
    await reading.check()
    assert sorted(reading.checked) == [b"grows", b"one"]
    assert len(reading.reader) == 0
