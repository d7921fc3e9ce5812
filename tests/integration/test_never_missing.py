"""A name that exists on the backend is not missing on a frontend for longer than it was missing there, whatever detour it took.

Two frontends; the transfer to one of them is slow. A thread asks for the names all the time. Where a busy machine kept a name away from
the backend for longer than the grace period, it may be missing on a frontend as well: such a case is repeated.
"""

import asyncio
import os
import shutil
import time

import pytest

from replicator.core.renames import GRACE as RENAME_GRACE
from tests.support.backend import Backend, LocalFleet
from tests.support.presence import Presence
from tests.support.uploader import catalog_of, exchange
from tests.support.waiting import wait_for

SLACK = 0.15
"""Seconds by which a loaded machine may delay a measurement; a fault is as long as a cooldown or a transfer."""

GRACE = 0.5
"""Seconds for which a name must be missing before it is deleted on the frontends."""

TURNS = 10
"""Repetitions of a case for which the machine was too busy."""

SLOW = 0.3
"""Seconds that each write to the slow frontend takes."""


class SlowFleet(LocalFleet):
    """Writes to the frontend "two" are slow while `slow` is set."""

    slow = False

    async def connect(self, address, identity=""):
        channel = await super().connect(address, identity)
        write = channel.write

        async def slowly(data):
            if self.slow:
                await asyncio.sleep(SLOW)
            await write(data)

        if address.host == "two":
            channel.write = slowly
        return channel


@pytest.fixture
def backend(tmp_path):
    fleet = SlowFleet(tmp_path)
    settle = {"cooldown": 0.5, "max_wait": 5.0}
    with Backend(tmp_path, connector=fleet, tree={"delete_guard": 1}, settle=settle) as made:
        for name in ("page", "other"):
            (made.source / name).write_bytes(os.urandom(100_000))
        for directory in ("live", "second"):
            fill(made.source / directory, b"1")
        made.wait_until_equal()
        wait_until_stable(made)
        fleet.slow = True
        yield made
        fleet.slow = False
        made.wait_until_equal()


def wait_until_stable(backend):
    """Wait until the records of files that were just written are stable."""
    wait_for(
        lambda: all(record.stable for record in catalog_of(backend).values()),
        "recent stamps to be confirmed",
    )


def arrive(backend):
    """Let everything arrive on both frontends at once; what comes later is slow again."""
    backend.connector.slow = False
    backend.wait_until_equal()
    backend.connector.slow = True


def fill(directory, content):
    (directory / "sub").mkdir(parents=True)
    for number in range(20):
        (directory / f"{number}").write_bytes(content * 20_000)
        (directory / "sub" / f"{number}").write_bytes(content + b"%d" % number)


def missing(backend, names, act):
    """Do something, wait until it has arrived, and return for how long each name was missing: on the backend, and on a frontend."""
    roots = [backend.source, *map(backend.site, backend.hosts)]
    with Presence([os.path.join(root, name) for root in roots for name in names]) as presence:
        act()
        backend.wait_until_equal()
    return {
        name: (
            presence.at_most[os.path.join(backend.source, name)],
            max(presence.at_least[os.path.join(root, name)] for root in roots[1:]),
        )
        for name in names
    }


def assert_never_missing(backend, names, act, grace=GRACE):
    for _ in range(TURNS):
        found = missing(backend, names, act)
        if all(there <= here + SLACK for here, there in found.values()):
            return
        assert max(here for here, _ in found.values()) > grace, found
    pytest.fail(f"the machine is too busy: {found}")


def save_by_renaming(path, pause=0.0):
    """Save as vim does with backupcopy=auto."""
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    time.sleep(pause)
    path.write_bytes(os.urandom(100_000))
    backup.unlink()


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_a_file_that_is_saved_by_renaming_it_away(backend, pause):
    def act():
        for _ in range(3):
            save_by_renaming(backend.source / "page", pause)
            time.sleep(0.4)

    assert_never_missing(backend, ["page"], act)


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.1, 0.4])
def test_a_file_that_is_removed_and_made_again(backend, pause):
    path = backend.source / "page"

    def act():
        for _ in range(3):
            path.unlink()
            time.sleep(pause)
            path.write_bytes(os.urandom(50_000))
            time.sleep(0.2)

    assert_never_missing(backend, ["page"], act)


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("pause", [0.0, 0.4 * RENAME_GRACE])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_replaced_by_two_renames(backend, kind, pause, known):
    """`mv live old; mv new live`; the new one has arrived before, or is on its way."""
    live, new, old = (backend.source / name for name in ("live", "new", "old"))
    names = ["live", "live/7", "live/sub/7"]
    if kind == "file":
        live, names = backend.source / "page", ["page"]

    def prepare():
        if kind == "file":
            old.unlink(missing_ok=True)
            new.write_bytes(os.urandom(3_000_000))
        else:
            shutil.rmtree(old, ignore_errors=True)
            fill(new, b"2")
        if known:
            arrive(backend)

    def act():
        prepare()
        live.rename(old)
        time.sleep(pause)
        new.rename(live)

    assert_never_missing(backend, names, act, RENAME_GRACE)


def test_directories_that_are_swapped_and_swapped_back(backend):
    names = [f"{top}/{below}" for top in ("live", "second") for below in ("7", "sub/7")]

    def act():
        for _ in range(5):
            exchange(backend.source / "live", backend.source / "second")
            time.sleep(0.2)

    assert_never_missing(backend, names, act)


@pytest.mark.parametrize("pause", [0.0, 0.4 * RENAME_GRACE])
def test_a_directory_that_is_renamed_away_and_back(backend, pause):
    live, away = backend.source / "live", backend.source / "away"

    def act():
        for _ in range(5):
            live.rename(away)
            time.sleep(pause)
            away.rename(live)
            time.sleep(pause)

    assert_never_missing(backend, ["live/7", "live/sub/7"], act, RENAME_GRACE)


def test_a_directory_that_is_removed_and_unpacked_anew(backend):
    live = backend.source / "live"

    def act():
        for turn in range(3):
            shutil.rmtree(live)
            time.sleep(0.05)
            fill(live, b"%d" % turn)
            time.sleep(0.2)

    assert_never_missing(backend, ["live", "live/7", "live/sub/7"], act)


def test_a_log_that_is_rotated(backend):
    log, first, second = (backend.source / name for name in ("page", "page.1", "page.2"))
    first.write_bytes(b"older")
    arrive(backend)

    def act():
        first.rename(second)
        log.rename(first)
        log.write_bytes(b"new")

    assert_never_missing(backend, ["page", "page.1"], act)


def test_a_new_name_does_not_wait_for_the_deletion_of_the_old_one(backend):
    backend.connector.slow = False
    name = "page"
    copies = [backend.site(host) for host in backend.hosts]
    for turn in range(TURNS):
        new = f"renamed-{turn}"
        (backend.source / name).rename(backend.source / new)
        wait_for(lambda new=new: all((copy / new).exists() for copy in copies), "the new name")
        before = [(copy / name).exists() for copy in copies]  # its grace period is not over
        backend.wait_until_equal()
        assert not any((copy / name).exists() for copy in copies)
        if all(before):
            return
        name = new
    pytest.fail("the old name was always gone before the new one was seen")


@pytest.mark.parametrize("pause", [0.1, 0.3])
def test_what_a_symlink_leads_to_while_releases_are_made_switched_to_and_dropped(backend, pause):
    """`current -> releases/N`: the symlink is replaced several times within a second, and the release before is removed."""
    releases, current = backend.source / "releases", backend.source / "current"
    fill(releases / "0", b"0")
    current.symlink_to("releases/0")
    arrive(backend)
    # A frontend that is still sent an earlier burst gets deletions of that burst before a symlink that has changed again.
    backend.connector.slow = False

    def act():
        last = int(os.readlink(current).rpartition("/")[2])
        for number in range(last + 1, last + 7):
            fill(releases / f"{number}", b"%d" % number)
            current.with_name("new").symlink_to(f"releases/{number}")
            current.with_name("new").rename(current)
            shutil.rmtree(releases / f"{number - 1}")
            time.sleep(pause)

    assert_never_missing(backend, ["current/7", "current/sub/7"], act)
