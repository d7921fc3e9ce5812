"""A file with the size and time of the version that a frontend holds, but with other content, arrives there.

The content is put in place while a frontend is away, so no event reaches it; the frontend is compared when it comes back, by size
and time. Both frontends must be equal by content afterwards, also when the daemon was restarted meanwhile.
"""

import os
import shutil
import subprocess

import pytest

from tests.support.backend import Backend
from tests.support.looking import texts
from tests.support.tools import missing
from tests.support.uploader import exchange
from tests.support.waiting import wait_for

TIME = 1_700_000_000_000_000_000
NAMES = [f"{number}" for number in range(20)]


def fill(directory, letter):
    """Make files whose sizes and times do not depend on the letter."""
    for path in [directory / name for name in NAMES] + [directory / "sub" / "page"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(letter * 100)
        os.utime(path, ns=(TIME, TIME))
    for path in (directory / "sub", directory):
        os.utime(path, ns=(TIME, TIME))


def unpack_anew(source, other):
    archive = other.with_suffix(".tar")
    subprocess.run(["tar", "-C", other, "-cf", archive, "."], check=True)
    shutil.rmtree(source / "a")
    (source / "a").mkdir()
    subprocess.run(["tar", "-C", source / "a", "-xpf", archive], check=True)


def swap_directories(source, other):
    (source / "a").rename(source / "away")
    (source / "b").rename(source / "a")
    (source / "away").rename(source / "b")


def exchange_directories(source, other):
    exchange(source / "a", source / "b")


def swap_files(source, other):
    for name in NAMES:
        (source / "a" / name).rename(source / "a" / "away")
        (source / "b" / name).rename(source / "a" / name)
        (source / "a" / "away").rename(source / "b" / name)


def exchange_files(source, other):
    for name in NAMES:
        exchange(source / "a" / name, source / "b" / name)


def copy_over(source, other):
    for name in NAMES:
        subprocess.run(["cp", "-p", other / name, source / "a" / name], check=True)


def rsync_into_place(source, other):
    if shutil.which("rsync") is None:
        missing("rsync")
    subprocess.run(["rsync", "-a", "--checksum", f"{other}/", f"{source / 'a'}/"], check=True)


def restore_a_backup(source, other):
    shutil.rmtree(source / "a")
    shutil.copytree(other, source / "a")


def rename_over(source, other):
    for name in NAMES:
        shutil.copy2(other / name, source / "a" / "new")
        (source / "a" / "new").rename(source / "a" / name)


CHANGES = [
    unpack_anew,
    swap_directories,
    exchange_directories,
    swap_files,
    exchange_files,
    copy_over,
    rsync_into_place,
    restore_a_backup,
    rename_over,
]


@pytest.fixture
def filled(tmp_path):
    for name, letter in (("a", "a"), ("b", "b")):
        fill(tmp_path / "source" / name, letter)
    fill(tmp_path / "other", "o")
    return tmp_path


def away(backend, host):
    backend.connector.refused.add(host)
    backend.connector.kill(host)
    wait_for(lambda: backend.row(host)["state"] == "retrying", backend.explain_status)


def settled(backend):
    """Wait until everything has arrived on the frontend that is there, and its fresh stamps are stable."""
    (there,) = set(backend.hosts) - backend.connector.refused
    wait_for(lambda: not contents_differ(backend, there), backend.explain_status)
    wait_for(lambda: not backend.status()["trees"][0]["pending"], backend.explain_status)


def contents_differ(backend, host):
    return texts(backend.source) != texts(backend.site(host))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_other_content_of_the_same_size_and_time_arrives_after_a_disconnect(
    filled, change, restart
):
    with Backend(filled) as backend:
        backend.wait_until_equal()
        away(backend, "two")
        change(backend.source, filled / "other")
        settled(backend)
        if not restart:
            backend.connector.refused.clear()
            backend.wait_until_equal()
            assert not contents_differ(backend, "two")
    if restart:
        with Backend(filled) as backend:
            backend.wait_until_equal()
            assert not any(contents_differ(backend, host) for host in backend.hosts)


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_of_the_same_size_and_time_arrives_after_the_daemon_was_down(filled, change):
    with Backend(filled) as backend:
        backend.wait_until_equal()
    change(filled / "source", filled / "other")
    with Backend(filled) as backend:
        backend.wait_until_equal()
        assert not any(contents_differ(backend, host) for host in backend.hosts)


def test_content_that_is_swapped_back_and_swapped_again_while_a_frontend_is_away(filled):
    with Backend(filled) as backend:
        backend.wait_until_equal()
        for times in (2, 3):
            away(backend, "two")
            for _ in range(times):
                swap_directories(backend.source, None)
                settled(backend)
            backend.connector.refused.clear()
            backend.wait_until_equal()
            assert not any(contents_differ(backend, host) for host in backend.hosts)
