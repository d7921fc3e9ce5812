"""A frontend's disk that is full, read-only, out of inodes or gone: this is reported, the other frontends are served, and this one recovers without an operator."""

import os
import random
import time

import pytest

from replicator.core.dirty import DirtySet
from tests.support.backend import Backend
from tests.support.disks import disk
from tests.support.waiting import wait_for

MIB = 1 << 20


def random_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


def error(backend, host="one"):
    return backend.row(host)["last_error"]


def wait_for_error(backend, words, host="one"):
    wait_for(lambda: words in error(backend, host), backend.explain)


def has(backend, host, name, content):
    path = backend.site(host) / name
    return path.is_file() and path.read_bytes() == content


@pytest.fixture
def one(tmp_path):
    """The disk of the host `one`."""
    with disk(tmp_path / "one") as made:
        yield made


@pytest.fixture
def backend(one, tmp_path):
    with Backend(tmp_path) as running:
        running.wait_until_equal()
        yield running


def test_a_full_disk_is_reported_takes_what_fits_and_recovers(backend, one, monkeypatch):
    refusals = []
    refused = DirtySet.refused
    monkeypatch.setattr(DirtySet, "refused", lambda *args: refusals.append(args) or refused(*args))
    for number in range(14):
        (backend.source / f"large{number}").write_bytes(random_bytes(3 * MIB, number))
    for number in range(100):
        (backend.source / f"small{number}").write_bytes(b"%d" % number)
    wait_for(lambda: "two" not in backend.differences(), backend.explain)
    wait_for_error(backend, "No space left on device")
    assert error(backend, "two") == ""
    assert backend.row("one")["dirty"] >= 9
    # Five large ones fit, and a MiB is left; what a failing attempt takes of it is soon free again.
    small = [backend.site("one") / f"small{number}" for number in range(100)]
    wait_for(lambda: all(path.exists() for path in small), backend.explain)

    began, before = time.monotonic(), len(refusals)
    wait_for(lambda: len(refusals) > before + 30, "each large file to be tried several times")
    attempts, seconds = len(refusals) - before, time.monotonic() - began
    assert attempts <= 14 * (1 + seconds / (0.1 * 0.5)), attempts  # a tenth of the cap at least

    one.remount("size=64m")
    backend.wait_until_equal()
    assert error(backend) == ""
    assert one.temporaries() == []


def test_a_small_file_arrives_on_a_disk_that_a_large_one_overfills(backend, one):
    (backend.source / "large").write_bytes(random_bytes(20 * MIB))
    wait_for_error(backend, "No space left on device")
    (backend.source / "small").write_bytes(b"small")
    wait_for(lambda: has(backend, "one", "small", b"small"), backend.explain)
    (backend.source / "large").unlink()
    backend.wait_until_equal()
    assert one.temporaries() == []
    assert one.free > 15 * MIB


@pytest.mark.parametrize("how", ["a delta", "whole"])
def test_an_old_version_stays_whole_while_the_new_one_finds_no_room(backend, one, how):
    old = random_bytes(9 * MIB, 1)
    (backend.source / "f").write_bytes(old)
    backend.wait_until_equal()
    new = old[:MIB] + b"edit" + old[MIB:] if how == "a delta" else random_bytes(9 * MIB, 2)
    (backend.source / "f").write_bytes(new)
    wait_for_error(backend, "No space left on device")
    assert has(backend, "one", "f", old)
    wait_for(lambda: has(backend, "two", "f", new), backend.explain)
    one.remount("size=64m")
    backend.wait_until_equal()
    assert has(backend, "one", "f", new)
    assert one.temporaries() == []


def test_freed_space_is_used(backend, one):
    ballast = one.where / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(32 * MIB))
    (backend.source / "d").mkdir()
    (backend.source / "d" / "f").write_bytes(random_bytes(MIB))
    wait_for_error(backend, "No space left on device")
    ballast.unlink()
    backend.wait_until_equal()


def test_a_lack_of_inodes_is_reported_and_recovers(tmp_path):
    with disk(tmp_path / "one", "size=16m,nr_inodes=20") as one, Backend(tmp_path) as backend:
        backend.wait_until_equal()
        for number in range(50):
            (backend.source / f"{number}").write_bytes(b"x")
        wait_for_error(backend, "No space left on device")
        wait_for(lambda: len(os.listdir(backend.site("two"))) == 50, backend.explain)
        assert len(os.listdir(backend.site("one"))) >= 15
        one.remount("nr_inodes=200")
        backend.wait_until_equal()


def test_a_read_only_disk_is_reported_and_recovers(backend, one):
    (backend.source / "kept").write_bytes(b"old")
    backend.wait_until_equal()
    one.remount("ro")
    (backend.source / "kept").write_bytes(b"new")
    (backend.source / "d").mkdir()
    (backend.source / "d" / "f").write_bytes(b"f")
    (backend.source / "link").symlink_to("d")
    wait_for_error(backend, "Read-only file system")
    assert has(backend, "one", "kept", b"old")
    wait_for(lambda: has(backend, "two", "d/f", b"f"), backend.explain)
    one.remount("rw")
    backend.wait_until_equal()
    assert error(backend) == ""


def test_a_target_that_is_removed_while_in_use_is_reported_and_filled_again(backend):
    (backend.source / "f").write_bytes(b"f")
    backend.wait_until_equal()
    (backend.site("one") / "f").unlink()
    backend.site("one").rmdir()
    (backend.source / "g").write_bytes(b"g")
    wait_for(lambda: backend.row("one")["logins"] > 1, backend.explain)
    backend.wait_until_equal()


def test_a_target_that_is_renamed_is_not_written_to_any_more(backend, one):
    (backend.source / "f").write_bytes(b"f")
    backend.wait_until_equal()
    aside = one.where / "aside"
    backend.site("one").rename(aside)
    (backend.source / "g").write_bytes(b"g")
    wait_for(lambda: backend.row("one")["logins"] > 1, backend.explain)
    backend.wait_until_equal()
    assert sorted(os.listdir(aside)) == ["f"]


def test_a_volume_that_is_detached_from_the_target_is_not_written_to_any_more(tmp_path):
    with disk(tmp_path / "one" / "site") as volume, Backend(tmp_path) as backend:
        (backend.source / "f").write_bytes(b"f")
        backend.wait_until_equal()
        held = os.open(volume.where, os.O_RDONLY)
        try:
            volume.detach()
            (backend.source / "g").write_bytes(b"g")
            wait_for(lambda: backend.row("one")["logins"] > 1, backend.explain)
            backend.wait_until_equal()
            assert os.listdir(held) == ["f"]
        finally:
            os.close(held)
