"""A name that exists on the backend is not missing on a frontend for longer than it was missing there, whatever detour it took.

Two frontends; the transfer to one of them is slow. A thread asks for the names all the time.
"""

import asyncio
import os
import shutil
import time

import pytest

from tests.support.backend import Backend, LocalFleet
from tests.support.presence import Presence
from tests.support.uploader import exchange

SLACK = 0.15
"""Seconds by which a loaded machine may delay a measurement; a fault is as long as a cooldown or a transfer."""

GRACE = 0.1
"""Seconds that the rename of a directory waits for the old name to come back."""

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
        time.sleep(1.2)  # until fresh stamps are confirmed
        fleet.slow = True
        yield made
        fleet.slow = False
        made.wait_until_equal()


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


def missing(backend, names, act, after=1.5):
    """Do something, and return for how long each name was missing: on the backend, and at most on a frontend."""
    roots = [backend.source, *map(backend.site, backend.hosts)]
    with Presence([os.path.join(root, name) for root in roots for name in names]) as presence:
        act()
        time.sleep(after)
    longest = presence.longest
    return {
        name: (
            longest[os.path.join(backend.source, name)],
            max(longest[os.path.join(root, name)] for root in roots[1:]),
        )
        for name in names
    }


def assert_never_missing(found, sending=0.0):
    assert all(there <= here + SLACK + sending for here, there in found.values()), found


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

    assert_never_missing(missing(backend, ["page"], act))


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.1, 0.4])
def test_a_file_that_is_removed_and_made_again(backend, pause):
    path = backend.source / "page"

    def act():
        for _ in range(3):
            path.unlink()
            time.sleep(pause)
            path.write_bytes(os.urandom(50_000))
            time.sleep(0.2)

    assert_never_missing(missing(backend, ["page"], act))


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("pause", [0.0, 0.03])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_replaced_by_two_renames(backend, kind, pause, known):
    """`mv live old; mv new live`; the new one has arrived before, or is on its way."""
    live, new, old = (backend.source / name for name in ("live", "new", "old"))
    names = ["live", "live/7", "live/sub/7"]
    if kind == "file":
        live, names = backend.source / "page", ["page"]
        new.write_bytes(os.urandom(3_000_000))
    else:
        fill(new, b"2")
    if known:
        arrive(backend)

    def act():
        live.rename(old)
        time.sleep(pause)
        new.rename(live)

    assert_never_missing(missing(backend, names, act, 3))


def test_directories_that_are_swapped_and_swapped_back(backend):
    names = [f"{top}/{below}" for top in ("live", "second") for below in ("7", "sub/7")]

    def act():
        for _ in range(5):
            exchange(backend.source / "live", backend.source / "second")
            time.sleep(0.2)

    assert_never_missing(missing(backend, names, act, 3))


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.3])
def test_a_directory_that_is_renamed_away_and_back(backend, pause):
    live, away = backend.source / "live", backend.source / "away"

    def act():
        for _ in range(5):
            live.rename(away)
            time.sleep(pause)
            away.rename(live)
            time.sleep(pause)

    # Missing for longer than the grace, it is renamed on the frontends as well; the slow one then waits for what brings it back.
    sending = 4 * SLOW if pause > GRACE else 0.0
    assert_never_missing(missing(backend, ["live/7", "live/sub/7"], act, 2), sending)


def test_a_directory_that_is_removed_and_unpacked_anew(backend):
    live = backend.source / "live"

    def act():
        for turn in range(3):
            shutil.rmtree(live)
            time.sleep(0.05)
            fill(live, b"%d" % turn)
            time.sleep(0.2)

    assert_never_missing(missing(backend, ["live", "live/7", "live/sub/7"], act, 3))


def test_a_log_that_is_rotated(backend):
    log, first, second = (backend.source / name for name in ("page", "page.1", "page.2"))
    first.write_bytes(b"older")
    arrive(backend)

    def act():
        first.rename(second)
        log.rename(first)
        log.write_bytes(b"new")

    assert_never_missing(missing(backend, ["page", "page.1"], act))


def test_a_new_name_does_not_wait_until_an_old_one_is_believed_gone(backend):
    backend.connector.slow = False
    (backend.source / "page").rename(backend.source / "renamed")
    for host in backend.hosts:
        deadline = time.monotonic() + 10
        while not (backend.site(host) / "renamed").exists():
            assert time.monotonic() < deadline
        assert (backend.site(host) / "page").exists(), "its grace period is not over"
    backend.wait_until_equal()
    assert not (backend.site("one") / "page").exists()


@pytest.mark.parametrize("pause", [0.1, 0.3])
def test_what_a_symlink_leads_to_while_releases_are_made_switched_to_and_dropped(backend, pause):
    """`current -> releases/N`: the symlink is replaced several times within a second, and the release before is removed."""
    releases, current = backend.source / "releases", backend.source / "current"
    fill(releases / "0", b"0")
    current.symlink_to("releases/0")
    arrive(backend)

    def act():
        for number in range(1, 7):
            fill(releases / f"{number}", b"%d" % number)
            current.with_name("new").symlink_to(f"releases/{number}")
            current.with_name("new").rename(current)
            shutil.rmtree(releases / f"{number - 1}")
            time.sleep(pause)

    assert_never_missing(missing(backend, ["current/7", "current/sub/7"], act, 4))
