"""Contents over a real directory and a real catalog: what is read of a file, and what is reported about it."""

import os

import pytest

from replicator.delta.ops import Copy
from replicator.engine.ingest import checker
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.contents import Early
from replicator.ports import Snapshot, Verdict

OLD = 10**18
AHEAD = 4 * OLD


def test_a_new_file_is_found_with_its_content(world):
    world.write("a", b"content")
    updates, gone, _ = world.check(b"a")

    assert b"".join(op.data for op in updates[b"a"].ops) == b"content"
    assert gone == []
    assert world.catalog.get([b"a"])[b"a"] == updates[b"a"].record


def test_changed_attributes_are_found_without_content(world):
    path = world.write("a")
    world.record()
    path.chmod(0o600)
    updates, _, _ = world.check(b"a")

    assert updates[b"a"].is_content_unchanged
    assert updates[b"a"].record.entry.mode == 0o600


def test_a_file_rewritten_with_the_same_content_and_time_is_no_update(world):
    path = world.write("a")
    os.utime(path, ns=(OLD, OLD))
    world.record()
    path.write_bytes(b"content")
    os.utime(path, ns=(OLD, OLD))

    assert world.check(b"a")[:2] == ({}, [])


def test_changed_content_of_equal_size_and_time_is_ambiguous_until_they_differ(world):
    path = world.write("a", b"one")
    os.utime(path, ns=(OLD, OLD))
    world.record()
    assert not world.catalog.get([b"a"])[b"a"].ambiguous
    path.write_bytes(b"two")
    os.utime(path, ns=(OLD, OLD))
    updates, *_ = world.scan()
    assert updates[b"a"].record.ambiguous
    path.chmod(0o600)
    world.scan()
    assert world.catalog.get([b"a"])[b"a"].ambiguous, "frontends may still hold the first one"
    os.utime(path, ns=(OLD, OLD + 1))
    world.scan()
    assert not world.catalog.get([b"a"])[b"a"].ambiguous


def test_a_file_that_is_being_written_leaves_a_placeholder_until_it_is_closed(world):
    with (world.root / "a").open("wb") as file:
        file.write(b"half")
        file.flush()
        updates, _, found = world.check(b"a")
        assert found[0].unsettled == [b"a"]
        assert updates[b"a"].record.problem
    updates, _, _ = world.check(b"a")

    assert updates[b"a"].record.problem == ""
    assert updates[b"a"].ops is not None


def test_other_names_of_a_changed_file_are_checked(world):
    path = world.write("a")
    os.link(path, world.root / "b")
    world.record()
    path.write_bytes(b"changed")
    _, _, found = world.check(b"a")

    assert {name for one in found for name in one.siblings} == {b"b"}


def test_names_of_a_file_with_a_future_time_do_not_schedule_each_other_forever(world):
    """Found by the soak: they were read again every eight seconds, together, before either stamp could be confirmed."""
    path = world.write("a")
    os.utime(path, ns=(AHEAD, AHEAD))
    for name in ("b", "c"):
        os.link(path, world.root / name)
    world.scan()
    path.write_bytes(b"changed")
    os.utime(path, ns=(AHEAD, AHEAD))
    asked, again = [], [b"a"]
    while again and len(asked) < 5:
        asked.append(again)
        again = sorted({name for one in world.check(*again)[2] for name in one.siblings})

    assert asked == [[b"a"], [b"b", b"c"], [b"c"]]
    records = world.catalog.scan(None, None, 9)
    assert len({record.entry.digest for record in records}) == 1
    assert not any(record.stable for record in records)


@pytest.fixture
def huge(world):
    """A file that counts as large, while such files are read ahead."""
    world.checker.defer()
    world.checker.longest = 100
    return world.write("huge", b"x" * 101)


def test_a_large_file_is_left_to_a_background_read(world, huge):
    updates, _, found = world.check(b"huge")
    assert [file.path for file in found[0].large] == [b"huge"]
    assert updates[b"huge"].record.problem == "is being read"
    assert world.source.bytes_read == 0

    world.checker.contents.read_ahead(b"huge", force=False)
    read = world.source.bytes_read
    updates, _, _ = world.check(b"huge")
    assert updates[b"huge"].record.problem == ""
    assert world.source.bytes_read == read


def test_a_large_file_that_changed_after_its_background_read_is_checked_again(world, huge):
    world.checker.contents.read_ahead(b"huge", force=False)
    huge.write_bytes(b"y" * 102)
    updates, _, found = world.check(b"huge")

    assert updates[b"huge"].record.entry.size == 101
    assert found[0].siblings == [b"huge"]


def test_a_background_read_of_a_deleted_file_is_not_used_for_the_next_file_of_that_name(
    world, huge
):
    world.checker.contents.read_ahead(b"huge", force=False)
    huge.unlink()
    world.check(b"huge")
    world.write("huge", b"z" * 103)

    (found,) = world.check(b"huge")[2]
    assert found.large == [(b"huge", False, 103)]


def test_a_delta_against_a_replaced_version_is_dropped(world):
    snapshot = Snapshot(verdict=Verdict.READ, ops=[Copy(0, 7)], is_delta=True)
    early = Early(snapshot, b"one")

    assert early.against(b"one") is snapshot
    assert early.against(b"two") == Snapshot(verdict=Verdict.READ)


@pytest.fixture
def limited(world):
    """A world in which no file of more than 100 bytes is replicated."""
    world.checker = Checker(world.source, world.catalog, 100)
    return world


def test_a_file_above_the_limit_is_not_read_and_reported_once(limited):
    limited.write("huge", b"x" * 101)
    updates, _, _ = limited.check(b"huge")
    assert "larger than tree.max_file_size" in updates[b"huge"].record.problem
    assert limited.source.bytes_read == 0

    updates, _, found = limited.check(b"huge")
    assert not updates
    assert [record.path for record in found[0].unread] == [b"huge"]

    limited.write("huge", b"x" * 100)
    assert limited.check(b"huge")[0][b"huge"].record.problem == ""


def test_a_lowered_limit_applies_to_recorded_files(world):
    world.write("huge", b"x" * 101)
    world.record()
    world.checker = Checker(world.source, world.catalog, 100)
    assert "larger than" in world.scan()[0][b"huge"].record.problem


def test_the_first_scan_reads_large_files_and_leaves_huge_ones(world, monkeypatch):
    monkeypatch.setattr(checker, "HUGE", 100)
    world.checker.defer_huge()
    world.write("huge", b"x" * 101)
    world.write("large", b"x" * 100)
    updates, _, found = world.scan()
    assert [file.path for one in found for file in one.large] == [b"huge"]
    assert updates[b"large"].record.problem == ""
