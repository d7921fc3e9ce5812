"""The catalog may be damaged, deleted, or unwritable at any time: this is reported, the catalog is rebuilt, and no frontend loses a file."""

import json
import os
import random
import shutil
import sqlite3
import subprocess

import pytest

from replicator.demo.trees import fingerprint
from tests.support.daemon import one_line
from tests.support.tools import missing
from tests.support.waiting import FOREVER, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def server(fleet):
    return fleet.add("damaged", "127.0.2.40")


@pytest.fixture
def settled(make, server):
    """A backend whose frontend holds everything, and whose daemon has ended."""
    backend = make([server])
    backend.fill(40)
    backend.start()
    backend.wait_until_equal()
    assert backend.stop() == 0
    return backend


def truncated(path):
    os.truncate(path, path.stat().st_size // 3)


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path):
    os.truncate(path, 0)


def without_wal(path):
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    path.unlink()


def of_a_later_version(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    db.close()


def with_a_wrong_digit(path):
    """Damage that only the row's checksum detects: SQLite finds nothing wrong."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET mtime = mtime + 1, mode = 511 WHERE length(digest) = 32")
    db.close()


def flipped(seed):
    def damage(path):
        rng = random.Random(seed)
        content = bytearray(path.read_bytes())
        for _ in range(20):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    damage.__name__ = f"flipped_{seed}"
    return damage


NOTICED = [truncated, zeroed, of_a_later_version, with_a_wrong_digit]
SILENT = [emptied, without_wal, *map(flipped, range(2))]


@pytest.mark.parametrize("damage", NOTICED + SILENT, ids=lambda damage: damage.__name__)
def test_damage_is_reported_and_repaired_and_nothing_is_sent_or_deleted(settled, server, damage):
    catalog = settled.state / "catalog.sqlite"
    assert catalog.stat().st_size > 4096 * 4
    damage(catalog)
    before = fingerprint(settled.copy(server))
    settled.log.unlink()
    # Damage that shows in use ends the daemon, with a reason; the test starts it again, as systemd does.
    for _ in range(2):
        try:
            settled.start()
            wait_for(settled.quiet, lambda: json.dumps(settled.status()), FOREVER)
            break
        except AssertionError:
            assert settled.daemon.wait(10) == 1
            assert "Restart the daemon" in settled.log.read_text().splitlines()[-1]
    wait_for(settled.quiet, lambda: json.dumps(settled.status()), FOREVER)
    log = settled.log.read_text()
    assert "Traceback" not in log
    assert damage in SILENT or log.count("the catalog was damaged and is rebuilt") == 1, log
    row = settled.row(server)
    assert row["files_sent"] == 0, row
    assert row["bytes_sent"] < 20_000
    assert fingerprint(settled.copy(server)) == before
    (settled.source / "later").write_text("flows")
    settled.wait_until_equal()


def test_after_a_kill_a_lost_journal_only_means_that_files_are_read_again(make, server):
    backend = make([server])
    backend.fill(40)
    backend.start()
    backend.wait_until_equal()
    backend.kill()
    journal = backend.state / "catalog.sqlite-wal"
    assert journal.stat().st_size > 0, "what a kill leaves"
    journal.unlink()
    before = fingerprint(backend.copy(server))
    backend.start()
    wait_for(backend.quiet, lambda: json.dumps(backend.status()), FOREVER)
    assert backend.row(server)["files_sent"] == 0
    assert fingerprint(backend.copy(server)) == before


def test_a_catalog_that_is_lost_while_the_source_is_empty_deletes_nothing(settled, server):
    """The worst moment: what knew that there should be something is gone, too."""
    before = fingerprint(settled.copy(server))
    zeroed(settled.state / "catalog.sqlite")
    elsewhere = settled.directory / "unmounted"
    settled.source.rename(elsewhere)
    settled.source.mkdir()
    settled.start()
    wait_for(lambda: settled.row(server)["excess"], "deletions to be paused", FOREVER)
    assert settled.row(server)["reconciles"] == 1
    assert settled.row(server)["state"] == "degraded"
    assert fingerprint(settled.copy(server)) == before
    assert settled.run("status").returncode == 3
    settled.source.rmdir()
    elsewhere.rename(settled.source)
    wait_for(lambda: settled.status()["trees"][0]["entries"] == len(before), "a scan", FOREVER)
    assert settled.run("resume").returncode == 0
    settled.wait_until_equal()
    assert settled.row(server)["deletions_sent"] == 0


# --- a state directory that cannot be written ---


@pytest.fixture
def small_state(make, server):
    """A backend whose state directory is a file system of 600 KiB."""
    backend = make([server])
    backend.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k,mode=700", "tmpfs", backend.state]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        missing("the right to mount")
    yield backend
    backend.kill()
    subprocess.run(["umount", "-l", backend.state], check=True)


@needs_root
def test_a_full_disk_below_the_state_directory_is_reported_until_it_has_space(small_state, server):
    backend = small_state
    backend.fill(10)
    backend.start()
    backend.wait_until_equal()
    ballast = backend.state / "ballast"
    free = os.statvfs(backend.state)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize))
    before = fingerprint(backend.copy(server))
    for number in range(1500):  # more than the pages of the journal hold
        (backend.source / f"{'long' * 20}-{number}").write_text("x")

    def is_reported():
        return backend.status()["trees"][0]["state"] == "halted"

    wait_for(is_reported, lambda: json.dumps(backend.status()), FOREVER)
    tree = backend.status()["trees"][0]
    assert "full" in tree["problems"][0], tree
    assert str(backend.state) in tree["problems"][0]
    assert backend.run("status").returncode == 3
    assert before.items() <= fingerprint(backend.copy(server)).items(), "nothing is deleted"
    sizes = shutil.disk_usage(backend.state)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", backend.state], check=True)
    backend.wait_until_equal()
    assert sizes.free < 100_000
    assert backend.stop() == 0


@needs_root
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_state_that_cannot_be_written_at_the_start_is_one_sentence(small_state, how):
    backend = small_state
    if how == "full":
        free = os.statvfs(backend.state)
        (backend.state / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize))
    else:
        subprocess.run(["mount", "-o", "remount,ro", backend.state], check=True)
    result = backend.run("serve")
    assert result.returncode in (1, 2)
    assert one_line(result.stderr), result.stderr
    assert str(backend.state) in result.stderr
    assert {"full": "full", "read-only": "Read-only"}[how] in result.stderr
