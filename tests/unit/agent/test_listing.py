"""A listing goes as far as its credit, a little at a time."""

import hashlib
import os

import pytest

from replicator.agent import listing as module
from replicator.agent.listing import ListingJob
from replicator.files import walk
from replicator.model import DIRECTORY, FILE
from replicator.wire.messages import ListTree
from tests.support.stores import store_at


@pytest.fixture
def store(tmp_path):
    store = store_at(tmp_path)
    yield store
    store.tree.close()


def steps(job):
    """Do all steps; return the frames."""
    found = []
    while not found or not found[-1].end:
        made = job.step()
        if made is not None:
            found.append(made)
    return found


def lines(frames):
    return [line for frame in frames for line in frame.lines]


def test_lines_come_in_key_order_and_the_last_frame_is_marked(store, tmp_path):
    (tmp_path / "a").mkdir()
    many = [f"a/{number:04}" for number in range(module.LINES)]
    for name in (*many, "a.x", "b"):
        (tmp_path / name).write_text(name)
    frames = steps(ListingJob(store, ListTree(7, 1, b"", False, 4)))

    assert [line.path for line in lines(frames)] == [b"a", *map(os.fsencode, many), b"a.x", b"b"]
    assert [line.entry.kind for line in lines(frames)] == [
        DIRECTORY,
        *[FILE] * len(many),
        FILE,
        FILE,
    ]
    assert len(frames[0].lines) == module.LINES
    assert [frame.end for frame in frames] == [False, True]
    assert {frame.job for frame in frames} == {7}
    assert all(not line.entry.digest for line in lines(frames))


def test_each_frame_costs_credit(store, tmp_path):
    for number in range(2 * module.LINES + 1):
        (tmp_path / f"{number}").touch()
    job = ListingJob(store, ListTree(1, 1, b"", False, 2))
    assert job.credit == 2
    job.step()
    job.step()
    assert job.credit == 0


def test_digests_are_made_on_demand_a_piece_at_a_time(store, tmp_path):
    content = os.urandom((3 << 20) + 5)
    (tmp_path / "f").write_bytes(content)
    job = ListingJob(store, ListTree(1, 1, b"", True, 4))

    assert [job.step() for _ in range(3)] == [None, None, None]  # others may have their turn
    (line,) = lines(steps(job))
    assert line.entry.digest == hashlib.sha256(content).digest()


def test_a_file_that_goes_while_it_is_read_has_no_digest(store, tmp_path):
    (tmp_path / "f").write_bytes(bytes(3 << 20))
    job = ListingJob(store, ListTree(1, 1, b"", True, 4))
    assert job.step() is None
    (tmp_path / "f").unlink()
    (line,) = lines(steps(job))
    assert line.entry.digest == b""


def test_what_lies_below_a_directory_is_listed_alone(store, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").write_text("f")
    (tmp_path / "b").write_text("b")
    assert [line.path for line in lines(steps(ListingJob(store, ListTree(1, 1, b"a", False, 4))))] == [b"a/f"]  # fmt: skip


def test_a_directory_that_is_not_there_holds_nothing(store):
    (frame,) = steps(ListingJob(store, ListTree(1, 1, b"missing", False, 4)))
    assert (frame.lines, frame.unlisted, frame.end) == ((), (), True)


def test_what_is_listed_after_a_path_is_the_rest_of_the_whole_listing(store, tmp_path):
    for directory in ("a", "a/d", "b/c", "e"):
        (tmp_path / directory).mkdir(parents=True)
    for name in ("a/d/f", "a/g", "a.b", "b/c/f", "b/c/g", "d", "e/f"):
        (tmp_path / name).write_text(name)

    def listed(after):
        request = ListTree(1, 1, b"", digest=True, credit=4, after=after)
        return [line.path for line in lines(steps(ListingJob(store, request)))]

    whole = listed(b"")
    assert len(whole) == 12
    for index, path in enumerate(whole):
        assert listed(path) == whole[index + 1 :], path
    assert listed(b"b/c/ff") == whole[whole.index(b"b/c/g") :]


def test_a_name_that_no_path_can_hold_is_passed_over(store, tmp_path, monkeypatch):
    """As of a file system with longer names than ext4's: one line of it would end the connection, again and again."""
    (tmp_path / "f").touch()
    real = module.walk

    def walk(*where, **how):
        for met in real(*where, **how):
            yield met._replace(path=b"x" * 256)
            yield met
            yield met._replace(path=b"y" * 300 + b"/z")

    monkeypatch.setattr(module, "walk", walk)
    job = ListingJob(store, ListTree(1, 1, b"", False, 1))
    assert [line.path for line in job.step().lines] == [b"f"]


def test_a_listing_that_goes_on_asks_nothing_of_the_disk_about_what_was_listed(
    store, tmp_path, monkeypatch
):
    """In a directory of a million names this would take longer than the backend waits, each time anew."""
    for number in range(20):
        (tmp_path / f"{number:02}").touch()
    stated = []
    real = walk.entry_of
    monkeypatch.setattr(
        walk, "entry_of", lambda status, link: stated.append(1) or real(status, link)
    )
    frames = steps(ListingJob(store, ListTree(1, 1, b"", False, 4, b"16")))
    assert [line.path for line in lines(frames)] == [b"17", b"18", b"19"]
    assert len(stated) == 4


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a clock that only the test advances."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def paced(job, clock):
    """Do all steps, and wait as often as the job wants to; return its frames."""
    frames = []
    while not frames or not frames[-1].end:
        if job.pause():
            assert job.step() is None, "it reads in spite of the limit"
            clock[0] += job.pause()
        elif (made := job.step()) is not None:
            frames.append(made)
    return frames


@pytest.mark.parametrize(
    ("sizes", "seconds"),
    [([4 << 20], 4.0), ([1 << 20] * 4, 4.0), ([100] * 64, 4.0)],
    ids=["one large file", "files of 1 MiB", "small files count as 64 KiB"],
)
def test_a_limit_spreads_the_reading_over_time(store, tmp_path, clock, sizes, seconds):
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:02}").write_bytes(bytes(size))
    job = ListingJob(store, ListTree(1, 1, b"", True, 9, rate=1 << 20))
    frames = paced(job, clock)
    took = clock[0] - 100.0
    assert seconds - 1.5 <= took <= seconds + 0.5
    digests = {line.entry.digest for line in lines(frames)}
    assert digests == {hashlib.sha256(bytes(size)).digest() for size in sizes}


def test_time_without_reading_is_not_made_up_for(store, tmp_path, clock):
    (tmp_path / "f").write_bytes(bytes(4 << 20))
    job = ListingJob(store, ListTree(1, 1, b"", True, 9, rate=1 << 20))
    clock[0] += 3600.0
    paced(job, clock)
    assert clock[0] - 3700.0 >= 2.5


def test_a_listing_with_digests_sends_what_it_has_every_two_seconds(store, tmp_path, clock):
    for number in range(6):
        (tmp_path / str(number)).write_bytes(bytes(1 << 20))
    job = ListingJob(store, ListTree(1, 1, b"", True, 9, rate=1 << 20))
    frames = paced(job, clock)
    assert len(frames) >= 2
    assert [line.path for line in lines(frames)] == [b"%d" % n for n in range(6)]
