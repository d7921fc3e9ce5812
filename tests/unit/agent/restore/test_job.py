"""A restore from a store that may be hostile: nothing wrong is written, nothing is replaced, and it ends."""

import errno
import hashlib
import os
import stat
import threading
import time
import zlib

import pytest

from replicator.agent import file_writer
from replicator.agent.fencing import open_locks
from replicator.agent.file_writer import Owner
from replicator.agent.restore import fetch, http_connection, job, live_changes, urls
from replicator.agent.restore.workers import THREADS
from replicator.model import Entry
from replicator.wire.changes import Delete, MakeDirectory, Move
from replicator.wire.manifest import EMPTY_DIGEST, MAGIC, Named, Placed
from replicator.wire.restoring import DECLINED
from tests.support import http_store
from tests.support.bases import MadeBase
from tests.support.restoring import (
    Pausing,
    Run,
    assert_part_of,
    base_of,
    files_of,
    picture,
    restore,
    temporaries,
)
from tests.support.stores import fence_of, store_at

TIME = 1_600_000_000_123_456_789

pytestmark = [
    pytest.mark.usefixtures("impatient"),
    # Python 3.12 and later warn of a fork; the second process uses no lock that another thread may have held.
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True, params=[1, 2], ids=["one process", "two processes"])
def processes(request, monkeypatch):
    monkeypatch.setattr(job, "MANY", 0)
    monkeypatch.setattr(Run, "processes", request.param)
    return request.param


def test_a_target_is_the_same_as_the_source(source, target, http):
    report = restore(base_of(source, http), http, target)
    assert picture(target) == picture(source)
    assert (report.files, report.skipped, report.failed, report.error) == (111, 0, 0, "")
    assert report.content == sum(len(row[2]) for row in files_of(source).values())


def test_modes_that_deny_their_owner_access_are_set_at_the_end(source, target, http):
    for name, mode in (("d4", 0o555), ("d5/sub", 0o000), ("d5", 0o111), ("d6", 0o700)):
        (source / name).chmod(mode)
    base = base_of(source, http)
    assert restore(base, http, target).failed == 0
    assert picture(target) == picture(source)


def test_setid_bits_are_kept_only_where_the_tree_allows_it(source, target, http):
    (source / "d1" / "f0").chmod(0o4755)
    base = base_of(source, http)
    restore(base, http, target)
    assert stat.S_IMODE((target / "d1" / "f0").stat().st_mode) == 0o755
    (target / "d1" / "f0").unlink()
    restore(base, http, target, store=store_at(target, setid=True))
    assert stat.S_IMODE((target / "d1" / "f0").stat().st_mode) == 0o4755


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_everything_belongs_to_the_owner_of_the_tree(source, target, http):
    restore(base_of(source, http), http, target, store=store_at(target, Owner(12, 34)))
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in target.rglob("*")} == {(12, 34)}


def test_symlinks_are_made_only_as_the_policy_allows(source, target, http):
    (source / "d1" / "out").symlink_to("/etc/passwd")
    store = store_at(target)
    store.symlinks = "inside"
    report = restore(base_of(source, http), http, target, store=store)
    assert (report.failed, (target / "d1" / "out").is_symlink()) == (1, False)


def test_large_files_gaps_and_equal_contents(tmp_path, target, http):
    source = tmp_path / "large"
    source.mkdir()
    big = os.urandom(3 * fetch.BUFFER + 17)
    for name in ("a", "b"):
        (source / name).write_bytes(big)
    for n in range(20):
        (source / f"s{n}").write_bytes(b"%d" % n * 100_000)

    def change(names, files):
        """Two rows share one place, and every third small file is dead."""
        first, second, *small = files
        shared = [first, Placed(second.path, first.entry, first.pack, first.offset)]
        return names, shared + [row for n, row in enumerate(small) if n % 3]

    base = MadeBase(source, change=change)
    http.objects.update(base.objects)
    report = restore(base, http, target)
    assert report.failed == 0
    assert (target / "a").read_bytes() == (target / "b").read_bytes() == big
    left = {path.name for path in target.iterdir()}
    assert left == {"a", "b"} | {row.path.decode() for row in change([], files_in(source))[1][2:]}
    assert_same_content(target, source)


def test_a_large_file_counts_while_it_is_written_and_not_if_it_fails(tmp_path, target, http):
    source = tmp_path / "large"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(3 * fetch.BUFFER))
    base = MadeBase(source)
    pack = base.packs[0].digest.hex()
    http.objects.update(base.objects)
    half, released = threading.Event(), threading.Event()

    def holds(connection, answer):
        connection.sendall(answer[: 2 * fetch.BUFFER + 1000])
        half.set()
        released.wait(60)
        connection.sendall(bytes(len(answer) - 2 * fetch.BUFFER - 1000))
        return True

    http.always[pack] = holds
    counted = []

    def watch():
        half.wait(60)
        deadline = time.monotonic() + 30
        while not run.job.report().content and time.monotonic() < deadline:
            time.sleep(0.005)
        counted.append(run.job.report())
        released.set()

    thread = threading.Thread(target=watch)
    run = Run(base, http, target)
    with run:
        thread.start()
    thread.join()
    assert (counted[0].files, counted[0].content) in [(0, fetch.BUFFER), (0, 2 * fetch.BUFFER)]
    assert (run.report.files, run.report.content, run.report.failed) == (0, 0, 1)


def files_in(source):
    found = []
    MadeBase(source, change=lambda names, files: (names, found.extend(files) or files))
    return found


def assert_same_content(target, source):
    for path in target.iterdir():
        assert path.read_bytes() == (source / path.name).read_bytes()


def test_what_exists_is_neither_replaced_nor_fetched(source, target, http):
    base = base_of(source, http)
    (target / "d1").mkdir(mode=0o700)
    (target / "d1" / "f0").write_bytes(b"newer")
    (target / "d1" / "f2").symlink_to("/etc/passwd")
    (target / "d2").write_bytes(b"a file where the base has a directory")
    (target / "d7").mkdir()
    os.utime(target / "d1", ns=(TIME, TIME))
    before = picture(target)
    report = restore(base, http, target)
    after = picture(target)
    assert {name: after[name] for name in before if name != b"d7"} == {
        name: row for name, row in before.items() if name != b"d7"
    }
    assert (target / "d3" / "f1").exists() is False
    assert (target / "d3" / "sub" / "f1").read_bytes() == (source / "d3/sub/f1").read_bytes()
    assert report.failed >= 10  # what the base has below d2
    assert not temporaries(target)


def test_a_second_restore_fetches_only_what_the_first_left_out(source, target, http):
    base = base_of(source, http)
    bad = [pack.digest.hex() for pack in base.packs[3:5]]
    for pack in bad:
        http.always[pack] = http_store.status(404)
    first = restore(base, http, target)
    assert first.failed
    assert first.error == "the store answers with status 404"
    assert_part_of(target, source)
    http.always.clear()
    http.requests.clear()
    second = restore(base, http, target)
    assert picture(target) == picture(source)
    assert (second.files, second.failed) == (first.failed, 0)
    assert {path for path, _ in http.requests} == {base.manifest.hex(), *bad}


def test_a_target_that_holds_more_is_left_alone(source, target, http):
    for n in range(11):
        (target / f"x{n}").touch()
    report = restore(base_of(source, http), http, target, most=10)
    assert (report.files, report.error) == (0, DECLINED)
    assert len(list(target.iterdir())) == 11
    assert not http.requests


LONG = http_store.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536)
HOSTILE = {
    "wrong bytes": http_store.wrong_bytes,
    "an endless body": LONG,
    "a body without length": http_store.endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "a short body": http_store.cut(100),
    "an empty body": http_store.status(200),
    "a redirect": http_store.status(302, "Location: http://127.0.0.1:1/evil"),
    "a redirect to a file": http_store.status(301, "Location: file:///etc/passwd"),
    "403": http_store.status(403),
    "404": http_store.status(404),
    "503": http_store.status(503, "Retry-After: 999999"),
    "silence": http_store.silent(),
    "one byte now and then": http_store.dripping(0.05),
    "garbage": http_store.raw(os.urandom(5000)),
    "garbage headers": http_store.raw(b"HTTP/1.1 200 OK\r\n" + b"\xff:\0\r\n" * 50 + b"\r\n"),
    "endless headers": http_store.endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "endless 100 Continue": http_store.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": http_store.raw(b""),
}


@pytest.mark.parametrize("fault", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pack_costs_only_its_own_files(source, target, http, fault):
    base = base_of(source, http)
    http.always[base.packs[4].digest.hex()] = fault
    report = restore(base, http, target)
    lost = files_of(source).keys() - files_of(target).keys()
    assert_part_of(target, source)
    assert lost == {row.path for row in base.files if row.pack == 4}
    assert report.failed == len(lost)
    assert report.error


@pytest.mark.parametrize("fault", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_store_ends_a_restore_before_everything_was_tried(source, target, http, fault):
    base = base_of(source, http)
    for pack in base.packs:
        http.always[pack.digest.hex()] = fault
    report = restore(base, http, target)
    assert files_of(target).keys() == {b"d1/empty"}  # which needs no content
    assert not temporaries(target)
    assert report.error
    assert report.end


@pytest.mark.parametrize("fault", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_manifest_restores_nothing(source, target, http, fault):
    base = base_of(source, http)
    http.always[base.manifest.hex()] = fault
    report = restore(base, http, target)
    assert list(target.iterdir()) == []
    assert report.error


def test_failures_that_pass_leave_nothing_out(source, target, http):
    base = base_of(source, http)
    passing = (http_store.cut(1000), http_store.status(503), http_store.silent())
    for pack, each in zip(base.packs, passing, strict=False):
        http.faults[pack.digest.hex()] = [each]
    assert restore(base, http, target).failed == 0
    assert picture(target) == picture(source)


def test_one_wrong_byte_costs_one_file(source, target, http):
    base = base_of(source, http)
    pack = base.packs[2].digest.hex()
    http.objects[pack] = b"\xff" + http.objects[pack][1:]
    report = restore(base, http, target)
    assert report.failed == 1
    assert report.error == "digest_mismatch"
    assert len(files_of(source)) - len(files_of(target)) == 1
    assert_part_of(target, source)


def test_a_manifest_that_inflates_without_end_is_refused(source, target, http):
    base = base_of(source, http)
    data = MAGIC + zlib.compress(b"N\xff\xff\xff\x7f" + bytes(1 << 26))
    digest = http.add(data)
    report = restore(base, http, target, manifest=digest, size=len(data), url=http.url(digest.hex()))  # fmt: skip
    assert report.error == "a block of the manifest is too large"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("path", [b"../x", b"/x", b"a/../../x", b"", b"a//x", b".", b"a\0b"])
def test_a_path_that_is_none_ends_the_restore(source, target, http, tmp_path, path):
    before = sorted(os.listdir(tmp_path))

    def change(names, files):
        return [*names, Named(path, Entry("f", 0o644, 0, TIME, b"", EMPTY_DIGEST))], files

    report = restore(base_of(source, http, change=change), http, target)
    assert report.error
    assert not (tmp_path / "x").exists()
    assert sorted(os.listdir(tmp_path)) == before
    assert_part_of(target, source)


@pytest.mark.parametrize("path", [b".replicator/ready", b".replicator", b"d1/.replicator-abc-1.tmp"])  # fmt: skip
def test_own_names_of_the_agent_are_not_restored(source, target, http, path):
    kind = "d" if path == b".replicator" else "f"

    def change(names, files):
        entry = Entry(kind, 0o644, 0, TIME, b"", EMPTY_DIGEST if kind == "f" else b"")
        rows = sorted([*names, Named(path, entry)], key=lambda row: row.path.replace(b"/", b"\0"))
        return rows, files

    if path.count(b"/") and path.startswith(b".rep"):
        (target / ".replicator").mkdir()
    report = restore(base_of(source, http, change=change), http, target)
    assert not (target / os.fsdecode(path)).exists()
    assert report.files == 111


def test_nothing_is_written_through_a_symlink(source, target, http, tmp_path):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "f0").write_bytes(b"canary")
    before = picture(outside)
    (target / "d1").symlink_to(outside)
    (target / "d2").mkdir()
    (target / "d2" / "sub").symlink_to(outside / "sub")
    report = restore(base_of(source, http), http, target)
    assert picture(outside) == before
    assert report.failed >= 10
    assert (target / "d1").is_symlink()
    assert_part_of(target, source)


def test_what_live_changes_remove_meanwhile_does_not_come_back(source, target, http, monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 60)
    base = base_of(source, http)
    pause = Pausing()
    for pack in base.packs:
        http.faults[pack.digest.hex()] = [pause]
    run = Run(base, http, target)
    run.start()
    answering = threading.Thread(target=run.end)
    answering.start()
    assert pause.requested.wait(60)
    with run.live.lock:
        run.live.note(Delete(1, 1, b"d1/f0"))
        run.live.note(Delete(1, 1, b"d2/sub"))
        run.live.note(Move(1, 1, b"d3", b"d8/moved"))
        run.live.note(MakeDirectory(1, 1, b"d4", 0o711, TIME))
        os.rename(target / "d3", target / "d8" / "moved")
        (target / "d5" / "f0").write_bytes(b"newer")
    pause.released.set()
    answering.join(60)
    assert not (target / "d1" / "f0").exists()
    assert (target / "d1" / "f2").exists()
    assert not list((target / "d2" / "sub").iterdir())
    assert not (target / "d3").exists()
    assert not files_of(target / "d8" / "moved")
    assert (target / "d5" / "f0").read_bytes() == b"newer"
    status = (target / "d4").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o711, TIME)
    assert not temporaries(target)


def test_a_restore_with_too_many_live_deletions_ends(source, target, http, monkeypatch):
    monkeypatch.setattr(live_changes, "MOST", 3)
    run = Run(base_of(source, http), http, target)
    for n in range(5):
        run.live.note(Delete(1, 1, b"x%d" % n))
    with run:
        pass
    assert run.report.error == "too many live changes"


def test_a_full_disk_ends_it_at_once(source, target, http, monkeypatch, processes):
    written = []

    def full(fd, data):
        written.append(len(data))
        if len(data) and sum(written) > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.write(fd, data)

    monkeypatch.setattr(file_writer, "write_all", full)
    report = restore(base_of(source, http), http, target)
    assert report.error == "no_space: No space left on device"
    assert report.failed <= processes * THREADS
    assert_part_of(target, source)


def test_an_error_ends_the_waits_for_urls(source, target, http, monkeypatch):
    def full(_, data):
        if len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_writer, "write_all", full)
    monkeypatch.setattr(urls, "AHEAD", 1)
    run = Run(base_of(source, http), http, target)
    run.answers = 1
    begun = time.monotonic()
    with run:
        pass
    assert run.report.error == "no_space: No space left on device"
    assert time.monotonic() - begun < urls.PATIENCE / 2


def test_a_newer_agent_fences_it(source, target, http):
    base = base_of(source, http)
    store = store_at(target, lineage=b"backend")
    locks = open_locks()
    newer = fence_of(store.tree.root_fd, b"backend", locks)
    newer.check()
    run = Run(base, http, target, store=store)
    with run:
        pass
    os.close(locks)
    assert run.job.fenced is not None
    assert list(target.iterdir()) == []


def test_a_root_that_was_replaced_ends_it(source, target, http):
    store = store_at(target, place=os.fsencode(target))
    target.rename(target.with_name("moved"))
    target.mkdir()
    report = restore(base_of(source, http), http, target, store=store)
    assert report.error.startswith("root_gone")
    assert list(target.iterdir()) == []
    assert list(target.with_name("moved").iterdir()) == []


def test_a_stopped_restore_ends_although_the_store_is_silent(source, target, http, monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 60)
    base = base_of(source, http)
    pause = Pausing()
    for pack in base.packs:
        http.always[pack.digest.hex()] = pause
    run = Run(base, http, target)
    run.start()
    answering = threading.Thread(target=run.end)
    answering.start()
    assert pause.requested.wait(60)
    run.job.stop("the connection was lost")
    answering.join(30)
    assert run.job.is_finished
    assert run.job.report().error == "the connection was lost"
    assert not temporaries(target)
    pause.released.set()


def test_a_backend_without_urls_ends_it(source, target, http):
    base = base_of(source, http)
    urls = lambda pack: "" if pack >= 0 else http.url(base.manifest.hex())
    report = restore(base, http, target, urls=urls)
    assert report.error == "the backend has no URL for this part of the base"
    assert files_of(target).keys() == {b"d1/empty"}


def test_expired_urls_are_requested_again(source, target, http):
    base = base_of(source, http)
    for pack in base.packs:
        http.faults[pack.digest.hex()] = [http_store.status(403)]
    run = Run(base, http, target)
    with run:
        pass
    assert run.report.failed == 0
    assert sorted(run.asked) == sorted([*range(len(base.packs))] * 2)
    assert picture(target) == picture(source)


def test_a_manifest_that_is_another_is_refused(source, target, http):
    report = restore(base_of(source, http), http, target, manifest=hashlib.sha256(b"").digest())
    assert report.error == "the manifest is damaged: it has another digest"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("size", [0, job.MAX_MANIFEST + 1])
def test_a_manifest_of_an_impossible_size_is_not_fetched(source, target, http, size):
    report = restore(base_of(source, http), http, target, size=size)
    assert "the manifest has" in report.error
    assert not http.requests


def test_nothing_is_created_once_live_changes_are_not_noted_any_more(source, target, http):
    run = Run(base_of(source, http), http, target)
    run.live.close()
    with run:
        pass
    assert list(target.iterdir()) == []
    assert run.report.files == 0
