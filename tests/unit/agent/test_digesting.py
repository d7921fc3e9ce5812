"""Digests of directories: which have one, a little at a time, and what a listing leaves out then."""

import os

import pytest

from replicator.agent import digesting as module
from replicator.agent.digesting import DigestJob
from replicator.agent.listing import ListingJob
from replicator.errors import ProtocolError
from replicator.files import walk
from replicator.wire.messages import Descend, DigestTree, ListTree
from tests.support.descriptors import files_open
from tests.support.stores import store_at

REQUEST = DigestTree(7, 1, b"", 0o1777, 4)


@pytest.fixture
def store(tmp_path):
    store = store_at(tmp_path)
    yield store
    store.tree.close()


@pytest.fixture
def site(tmp_path):
    for name in ("a", "a/deep", "b", "c"):
        (tmp_path / name).mkdir()
    for name in ("a/deep/1", "b/1", "b/2", "top"):
        (tmp_path / name).write_text(name)
    return tmp_path


def frames(job):
    """Do all steps of an answer; return its frames."""
    found = []
    while not found or not found[-1].end:
        made = job.step()
        if made is not None:
            found.append(made)
    return found


def rows(job):
    return dict(row for frame in frames(job) for row in frame.rows)


def digest(store, **more):
    return rows(DigestJob(store, REQUEST._replace(**more)))[more.get("below", b"")]


def descend(job, *opened, whole=()):
    job.descend(Descend(7, opened, whole))
    return rows(job)


def listed(store, job):
    frames = []
    listing = ListingJob(store, ListTree(8, 1, b"", False, 100, walk=7), job)
    while not frames or not frames[-1].end:
        frames.append(listing.step())
    return [line for frame in frames for line in frame.lines]


def test_every_change_of_an_entry_changes_the_digest(store, site):
    seen = [digest(store)]

    def changed():
        seen.append(digest(store))
        return seen[-1] not in seen[:-1]

    assert digest(store) == seen[0]
    (site / "b/1").write_text("longer than before")
    assert changed()
    os.utime(site / "b/1", ns=(1, 1))
    assert changed()
    os.chmod(site / "b/1", 0o600)
    assert changed()
    os.chmod(site / "c", 0o700)
    assert changed()
    os.utime(site / "a/deep", ns=(1, 1))
    assert changed()
    time = os.stat(site / "c").st_mtime_ns
    for name in ("c/x", "c/y"):
        os.symlink("target", site / name)
        os.utime(site / name, ns=(1, 1), follow_symlinks=False)
        os.utime(site / "c", ns=(time, time))
        assert changed()
        os.unlink(site / name)
    os.utime(site / "c", ns=(time, time))
    assert not changed()


def test_mode_bits_that_do_not_count_and_skipped_paths_change_nothing(store, site):
    before = digest(store, skipped=(b".replicator", b"b/ready"))
    os.chmod(site / "top", os.stat(site / "top").st_mode | 0o4000)
    times = [(name, os.stat(site / name).st_mtime_ns) for name in ("b", "c")]
    (site / ".replicator").mkdir()
    (site / ".replicator/ready").touch()
    (site / "b/ready").touch()
    os.mkfifo(site / "c/fifo")
    (site / "c/.replicator-1-1.tmp").touch()
    for name, time in times:
        os.utime(site / name, ns=(time, time))
    assert digest(store, skipped=(b".replicator", b"b/ready")) == before
    assert digest(store) != before


def test_a_directory_that_cannot_be_read_has_no_digest_nor_have_those_above(
    store, site, monkeypatch
):
    opening = os.open

    def refuse(path, *args, **more):
        if path == b"deep":
            raise PermissionError(13, "Permission denied")
        return opening(path, *args, **more)

    monkeypatch.setattr(walk.os, "open", refuse)
    job = DigestJob(store, REQUEST)
    assert rows(job) == {b"": b""}
    found = descend(job, b"")
    assert found[b"a"] == b""
    assert found[b"b"]
    assert found[b"c"]


def test_what_has_another_owner_has_no_digest(store, site):
    store.owner = (os.getuid(), -1)
    assert digest(store)
    store.owner = (os.getuid() + 1, -1)
    assert digest(store) == b""


def test_a_directory_that_is_missing_or_no_directory_has_no_digest(store, site):
    assert digest(store, below=b"missing") == b""
    assert digest(store, below=b"top") == b""
    assert digest(store, below=b"/".join([b"d"] * 200)) == b""


def test_a_listing_leaves_out_what_was_reported_and_not_opened(store, site):
    job = DigestJob(store, REQUEST)
    rows(job)
    first = descend(job, b"")
    assert list(first) == [b"a", b"b", b"c"]
    assert list(descend(job, b"a", whole=(b"c",))) == [b"a/deep"]
    (site / "new").mkdir()
    (site / "new/1").touch()
    (site / "c/1").touch()
    lines = {line.path: line.entry.digest for line in listed(store, job)}
    assert list(lines) == [b"a", b"a/deep", b"b", b"c", b"c/1", b"new", b"new/1", b"top"]
    assert {path for path, digest in lines.items() if digest} == {b"a/deep", b"b"}
    assert lines[b"b"] == first[b"b"]


def test_it_works_in_small_steps_and_reports_progress(store, site, monkeypatch):
    monkeypatch.setattr(module, "STEP", 2)
    job = DigestJob(store, REQUEST)
    steps = [job.step()]
    while steps[-1] is None or not steps[-1].end:
        steps.append(job.step())
    assert steps[:-1] == [None, None, None, None]
    monkeypatch.setattr(module, "SAYING", 0)
    found = frames(DigestJob(store, REQUEST))
    assert [frame.walked for frame in found] == [2, 2, 2, 2, 0]
    assert [frame.rows for frame in found[:-1]] == [()] * 4
    assert sum(frame.walked for frame in found) == steps[-1].walked == 8


def test_digests_come_in_frames_of_limited_size(store, site, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    job = DigestJob(store, REQUEST)
    rows(job)
    job.descend(Descend(7, (b"",), ()))
    assert [len(frame.rows) for frame in frames(job)] == [2, 1]


def test_of_a_tree_with_too_many_directories_only_the_whole_has_a_digest(store, site, monkeypatch):
    whole = digest(store)
    monkeypatch.setattr(module, "ROOM", 10)
    job = DigestJob(store, REQUEST)
    assert rows(job) == {b"": whole}
    assert descend(job, b"") == {}
    assert not any(line.entry.digest for line in listed(store, job))


def test_a_second_request_before_the_answer_ends_the_connection(store, site):
    job = DigestJob(store, REQUEST)
    with pytest.raises(ProtocolError):
        job.descend(Descend(7, (b"",), ()))


def test_a_walk_that_is_dropped_closes_its_directories(store, site, monkeypatch):
    monkeypatch.setattr(module, "STEP", 1)
    before = files_open()
    job = DigestJob(store, REQUEST)
    job.step()
    assert files_open() > before
    del job
    assert files_open() == before
