"""A source that goes away or is another one deletes nothing anywhere, and a watcher that loses events loses no changes."""

import os
import shutil
from pathlib import Path

import pytest

from replicator.model import is_temporary
from replicator.watch import queue
from tests.support.backend import Backend
from tests.support.disks import disk
from tests.support.looking import below
from tests.support.tools import missing
from tests.support.waiting import wait_for

MANY = 150
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def fill(directory, many=MANY):
    directory.mkdir(exist_ok=True)
    for number in range(many):
        (directory / f"{number}.jpg").write_text(f"picture {number}")


def tree(backend):
    return backend.status()["trees"][0]


def pictures(backend):
    return [len(below(backend.site(host), "*.jpg")) for host in backend.hosts]


def inodes(backend):
    """Return which file each picture is on the first host: one that is sent again is another one."""
    entries = os.scandir(backend.site("one"))
    return {e.name: e.inode() for e in entries if not is_temporary(os.fsencode(e.name))}


def stopped(backend):
    """Wait until the tree is in doubt and its status has the reason, and nothing was deleted."""
    wait_for(lambda: tree(backend)["state"] in ("halted", "paused"), backend.explain)
    assert tree(backend)["problems"]


def rename(source):
    source.rename(source.parent / "aside")
    return lambda: (source.parent / "aside").rename(source)


def replace_by_directory(source):
    back = rename(source)
    source.mkdir()
    (source / "another").write_text("another")
    return lambda: (shutil.rmtree(source), back())


def replace_by_symlink(source):
    back = rename(source)
    (source.parent / "empty").mkdir()
    source.symlink_to("empty")
    return lambda: (source.unlink(), back())


def remove_for_good(source):
    shutil.copytree(source, source.parent / "backup")
    shutil.rmtree(source)
    return lambda: shutil.copytree(source.parent / "backup", source)


WAYS = [rename, replace_by_directory, replace_by_symlink, remove_for_good]


@pytest.fixture
def backend(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as running:
        running.wait_until_equal()
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_vanishes_deletes_nothing_and_resumes_after_its_return(backend, way):
    back = way(backend.source)
    stopped(backend)
    assert min(pictures(backend)) >= MANY - 100  # what a guard of one hundred lets through
    if way is not remove_for_good:
        assert pictures(backend) == [MANY, MANY]
    back()
    backend.ask(command="resume")
    backend.wait_until_equal()
    assert pictures(backend) == [MANY, MANY]
    assert tree(backend)["state"] == "watching"


@pytest.mark.parametrize("way", [rename, replace_by_directory])
def test_a_source_that_went_away_while_the_daemon_was_down_deletes_nothing(tmp_path, way):
    source = tmp_path / "source"
    fill(source)
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
    back = way(source)
    if not source.exists():
        source.mkdir()  # an empty mount point
        emptied = back
        back = lambda: (source.rmdir(), emptied())
    with Backend(tmp_path) as backend:
        stopped(backend)
        assert pictures(backend) == [MANY, MANY]
        back()
        backend.wait_until_equal()
        assert pictures(backend) == [MANY, MANY]


def test_an_unmounted_source_volume_deletes_nothing_and_replication_resumes(tmp_path):
    with disk(tmp_path / "source") as volume:
        fill(tmp_path / "source")
        with Backend(tmp_path) as backend:
            backend.wait_until_equal()
            held = os.open(volume.where, os.O_RDONLY)
            volume.detach()
            stopped(backend)
            assert pictures(backend) == [MANY, MANY]
            os.close(held)
            with disk(tmp_path / "source"):
                fill(tmp_path / "source")
                backend.wait_until_equal()
                assert pictures(backend) == [MANY, MANY]


def test_a_renamed_parent_of_the_source_deletes_nothing_and_replication_resumes(tmp_path):
    above = tmp_path / "above"
    fill_below = above / "source"
    above.mkdir()
    fill(fill_below)
    with Backend(tmp_path, tree={"source": str(fill_below)}) as backend:
        backend.source = fill_below
        backend.wait_until_equal()
        above.rename(tmp_path / "aside")
        stopped(backend)
        assert pictures(backend) == [MANY, MANY]
        (tmp_path / "aside").rename(above)
        backend.wait_until_equal()
        assert pictures(backend) == [MANY, MANY]


@pytest.fixture
def short_queue(monkeypatch):
    """Give the watchers of this process short queues. The kernel reads the number when a queue is made, and for all processes."""
    before, make = QUEUE.read_text(), queue.INotify
    try:
        QUEUE.write_text(before)
    except OSError:
        missing("the right to set fs.inotify.max_queued_events")

    def short(*arguments, **named):
        QUEUE.write_text("16")
        try:
            return make(*arguments, **named)
        finally:
            QUEUE.write_text(before)

    monkeypatch.setattr(queue, "INotify", short)


@pytest.mark.usefixtures("short_queue")
def test_a_queue_overflow_is_reported_and_scanned_and_nothing_is_sent_twice(tmp_path, capsys):
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        before = backend.row("one")
        untouched = inodes(backend)
        for number in range(2000):
            (backend.source / f"new{number % 40}.jpg").write_text(f"{number}")
        (backend.source / "5.jpg").unlink()
        del untouched["5.jpg"]
        backend.wait_until_equal()
        after = backend.row("one")
        assert tree(backend)["overflows"] >= 1
        assert "events were lost" in capsys.readouterr().out
        assert after["logins"] == before["logins"]
        assert after["reconciles"] == before["reconciles"]
        assert {name: inodes(backend)[name] for name in untouched} == untouched  # not sent again


@pytest.mark.parametrize("meanwhile", ["nothing", "changed", "another"])
def test_a_directory_that_is_moved_out_and_back_is_as_it_is_now(backend, tmp_path, meanwhile):
    inner = backend.source / "d" / "e"
    inner.mkdir(parents=True)
    (inner / "f").write_text("old")
    backend.wait_until_equal()
    (backend.source / "d").rename(tmp_path / "out")
    if meanwhile == "changed":
        (tmp_path / "out" / "e" / "f").write_text("changed outside")
        (tmp_path / "out" / "e" / "new").write_text("new")
    if meanwhile == "another":
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "g").write_text("g")
        (tmp_path / "other").rename(backend.source / "d")
    else:
        (tmp_path / "out").rename(backend.source / "d")
    backend.wait_until_equal()
    assert pictures(backend) == [MANY, MANY]
