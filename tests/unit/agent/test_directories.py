"""Directories: their times and modes are what the backend ordered, whatever happens in them meanwhile."""

import os
import tempfile

import pytest

from replicator.agent.refusals import Refused
from replicator.wire import changes
from tests.support.stores import store_at
from tests.support.unprivileged import run_unprivileged

TIME = 1_600_000_000_123_456_789


@pytest.fixture
def directories(tmp_path):
    store = store_at(tmp_path)
    yield store.directories
    store.tree.close()


def make(directories, path):
    """Make a directory as a change that orders its time does."""
    above, _, name = path.rpartition(b"/")
    os.mkdir(name, 0o755, dir_fd=directories.changing(above))
    directories.ordered(path, TIME)


def test_a_time_survives_what_happens_in_the_directory(directories, tmp_path):
    make(directories, b"d")
    directories.settle()
    for name in ("f", "g"):
        directories.changing(b"d")
        (tmp_path / "d" / name).write_text("x")
    (tmp_path / "d" / "g").unlink()
    assert (tmp_path / "d").stat().st_mtime_ns != TIME
    directories.settle()

    assert (tmp_path / "d").stat().st_mtime_ns == TIME


def test_what_is_to_be_put_back_moves_along_and_replaces_what_was_there(directories, tmp_path):
    make(directories, b"d")
    make(directories, b"d/e")
    directories.changing(b"")
    (tmp_path / "d").rename(tmp_path / "n")
    directories.moved(b"d", b"n")
    directories.settle()

    assert {(tmp_path / path).stat().st_mtime_ns for path in ("n", "n/e")} == {TIME}


def test_nothing_is_put_back_on_what_took_the_place_of_a_directory(directories, tmp_path):
    make(directories, b"d")
    (tmp_path / "d").rmdir()
    directories.forget(b"d")
    (tmp_path / "d").mkdir()
    directories.settle()

    assert (tmp_path / "d").stat().st_mtime_ns != TIME


def test_a_directory_that_is_gone_is_no_obstacle_to_the_others(directories, tmp_path):
    make(directories, b"a")
    make(directories, b"b")
    (tmp_path / "a").rmdir()
    directories.settle()

    assert (tmp_path / "b").stat().st_mtime_ns == TIME


def test_a_missing_directory_is_not_made(directories, tmp_path):
    with pytest.raises(Refused) as refused:
        directories.changing(b"a/b")
    assert refused.value.reason == changes.VANISHED
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_its_owner_may_not_write_is_widened_for_the_moment():
    imports = "import os, stat\nfrom tests.support.stores import store_at"
    code = """
os.mkdir("d", 0o555)
directories = store_at(".").directories
at = directories.changing(b"d")
directories.widened(at, b"d", lambda: os.mkdir("e", dir_fd=at))
print(oct(stat.S_IMODE(os.stat("d").st_mode)))
directories.settle()
print(oct(stat.S_IMODE(os.stat("d").st_mode)), os.listdir("d"))
"""
    with tempfile.TemporaryDirectory(prefix="widened-") as directory:
        output = run_unprivileged(imports, code, directory).split()
    assert output == ["0o755", "0o555", "['e']"]


def test_an_order_counts_more_than_the_mode_that_was_there():
    imports = "import os, stat\nfrom tests.support.stores import store_at"
    code = """
os.mkdir("d", 0o555)
directories = store_at(".").directories
at = directories.changing(b"d")
directories.widened(at, b"d", lambda: os.mkdir("e", dir_fd=at))
os.chmod("d", 0o750)
directories.ordered(b"d", 7)
directories.settle()
print(oct(stat.S_IMODE(os.stat("d").st_mode)), os.stat("d").st_mtime_ns)
"""
    with tempfile.TemporaryDirectory(prefix="widened-") as directory:
        assert run_unprivileged(imports, code, directory).split() == ["0o750", "7"]
