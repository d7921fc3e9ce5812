"""A huge file delays no other file, no other tree, no reload and no stop.

The files are sparse: 200 GiB of which reading is a matter of minutes, and which take no room.
"""

import os
import time

import pytest

from replicator.config import parse
from tests.support.backend import Backend
from tests.support.uploader import upload
from tests.support.waiting import wait_for

HUGE = 200 << 30
STOP = 30.0
"""Seconds, of a busy machine, within which the daemon ends; reading a huge file takes minutes."""


def sparse(path, size=HUGE):
    with path.open("wb") as file:
        file.truncate(size)


def config_of(backend, directory, *names):
    """Return the backend's configuration with these trees, each of which has a source of its name."""
    trees = []
    for name in names:
        source = directory / name
        source.mkdir(exist_ok=True)
        trees.append({"source": str(source), "target": f"/{'site' if name == 'source' else name}"})
    return parse(
        {
            "tree": trees,
            "discovery": {"frontends": backend.hosts},
            "state": {"directory": str(directory / "state")},
            "settle": {"cooldown": 0.05, "max_wait": 1.0},
        },
        base=directory,
    )


def is_being_read(backend, tree):
    def reading():
        before = backend.status()["trees"][tree]["pending"]
        return before > 0

    wait_for(reading, backend.status)


@pytest.fixture
def backend(tmp_path):
    made = Backend(tmp_path, hosts=("one",))
    yield made
    began = time.monotonic()
    made.stop()
    assert time.monotonic() - began < STOP


def test_huge_files_in_all_trees_delay_no_upload_to_any_and_no_stop(backend, tmp_path):
    backend.wait_until_equal()
    names = ("source", "second", "third")
    backend.call(backend.app.reload(config_of(backend, tmp_path, *names)))
    for name in names:
        for number in range(4):
            sparse(tmp_path / name / f"huge{number}")
    for tree in range(3):
        is_being_read(backend, tree)

    upload(backend, "small")
    (tmp_path / "third" / "small").write_text("x")
    there = backend.connector.root("one") / "third" / "small"
    wait_for(there.exists, backend.status)
    for tree in range(3):
        is_being_read(backend, tree)


def test_a_large_upload_does_not_wait_for_a_huge_one(backend):
    backend.wait_until_equal()
    sparse(backend.source / "huge")
    is_being_read(backend, 0)
    sparse(backend.source / "large", 65 << 20)
    wait_for((backend.site("one") / "large").exists, backend.status)


def test_a_tree_with_a_huge_file_is_removed_while_it_is_read(backend, tmp_path):
    backend.wait_until_equal()
    backend.call(backend.app.reload(config_of(backend, tmp_path, "source", "second")))
    sparse(tmp_path / "second" / "huge")
    is_being_read(backend, 1)
    backend.call(backend.app.reload(config_of(backend, tmp_path, "source")))
    upload(backend, "small")


def test_a_huge_file_that_is_removed_is_read_no_further(backend):
    backend.wait_until_equal()
    sparse(backend.source / "huge")
    is_being_read(backend, 0)
    (backend.source / "huge").unlink()
    backend.wait_until_equal()


def test_a_tree_that_holds_a_huge_file_at_the_start_is_served(tmp_path):
    (tmp_path / "source").mkdir()
    sparse(tmp_path / "source" / "huge")
    (tmp_path / "source" / "small").write_text("x")
    with Backend(tmp_path, hosts=("one",)) as backend:
        wait_for((backend.site("one") / "small").exists, backend.status)
        upload(backend, "another")
        assert not (backend.site("one") / "huge").exists()
        began = time.monotonic()
    assert time.monotonic() - began < STOP


def test_a_file_above_the_limit_stays_as_it_is_and_is_named(tmp_path):
    with Backend(tmp_path, hosts=("one",), tree={"max_file_size": "1KiB"}) as backend:
        (backend.source / "grows").write_bytes(b"x" * 1024)
        backend.wait_until_equal()
        os.truncate(backend.source / "grows", 1025)
        wait_for(lambda: backend.status()["trees"][0]["unreadable"] == ["grows"], backend.status)
        assert upload(backend, "small") < 10
        assert (backend.site("one") / "grows").stat().st_size == 1024
