"""What the engine promises in numbers, with the real kernel and real agents in child processes."""

import contextlib
import hashlib
import math
import os
import shutil
import stat
import threading
import time

import pytest

from replicator.demo.trees import fingerprint
from tests.support.backend import Backend
from tests.support.uploader import catalog_of
from tests.support.waiting import wait_for


@pytest.fixture
def backend(tmp_path):
    with Backend(tmp_path, settle={"cooldown": 0.5, "max_wait": 2.0}) as backend:
        backend.wait_until_equal()
        yield backend


def source_of(backend):
    (pipeline,) = backend.app.service.pipelines.values()
    return pipeline.tree.source


def wait_until_stable(backend):
    """Wait until the records of files that were just written are stable."""
    wait_for(
        lambda: all(record.stable for record in catalog_of(backend).values()),
        "recent stamps to be confirmed",
    )


def sent(backend):
    return {
        row["host"]: (row["files_sent"], row["bytes_sent"]) for row in backend.status()["frontends"]
    }


def spent(backend, before):
    """What each host was sent since `before`: (changes, bytes)."""
    return [(n - before[h][0], b - before[h][1]) for h, (n, b) in sent(backend).items()]


def test_an_insert_into_a_large_file_sends_little_and_reads_the_source_once(backend):
    big = backend.source / "big"
    content = os.urandom(32 << 20)
    big.write_bytes(content)
    backend.wait_until_equal()
    before, read = sent(backend), source_of(backend).bytes_read

    big.write_bytes(content[: 10 << 20] + b"thirteen byte" + content[10 << 20 :])
    wait_for(lambda: source_of(backend).bytes_read > read, "the source to be read")
    backend.wait_until_equal()

    assert all(size < 64 << 10 for _, size in spent(backend, before))
    assert source_of(backend).bytes_read - read == (32 << 20) + 13


def test_a_renamed_directory_is_one_change_and_no_content(backend):
    directory = backend.source / "old"
    directory.mkdir()
    for number in range(1000):
        (directory / f"{number}.jpg").write_bytes(os.urandom(1000))
    backend.wait_until_equal()
    wait_until_stable(backend)
    before, read = sent(backend), source_of(backend).bytes_read

    directory.rename(backend.source / "new")
    backend.wait_until_equal()

    # One for the rename; the directory's own time may follow as another.
    assert all(changes <= 2 and size < 2000 for changes, size in spent(backend, before))
    assert source_of(backend).bytes_read == read


@pytest.mark.parametrize("over", [False, True], ids=["to a new name", "over another file"])
def test_a_renamed_file_keeps_its_inode_and_sends_no_content(backend, over):
    old, new = backend.source / "old", backend.source / "d" / "new"
    new.parent.mkdir()
    with old.open("wb") as file:
        file.truncate(16 << 20)
        file.write(os.urandom(100_000))
    if over:
        new.write_bytes(b"in the way")
    backend.wait_until_equal()
    wait_until_stable(backend)
    before, read = sent(backend), source_of(backend).bytes_read
    inodes = [(backend.site(host) / "old").stat().st_ino for host in backend.hosts]

    old.rename(new)
    backend.wait_until_equal()

    assert all(size < 2000 for _, size in spent(backend, before))
    # The rename changes the file's ctime, so that it is checked, and perhaps read, here; it is not sent.
    assert source_of(backend).bytes_read - read <= 16 << 20
    assert [(backend.site(host) / "d/new").stat().st_ino for host in backend.hosts] == inodes


def test_fifty_rewrites_within_a_second_are_three_transfers(backend):
    path = backend.source / "hot"
    started = time.monotonic()
    before = sent(backend)
    for number in range(50):
        path.write_bytes(b"%d" % number * 10_000)
        while time.monotonic() < started + number * 0.018:
            pass
    seconds = time.monotonic() - started
    backend.wait_until_equal()

    # At once, after the cooldown, and after the last rewrite; a busy machine takes longer, and the cooldown doubles meanwhile.
    most = 2 + int(math.log2(1 + seconds / 0.5))
    # The root is no path of ours, so every change that arrived is one of this file.
    assert all(changes <= most for changes, _ in spent(backend, before))


def test_a_chmod_sends_no_content_and_an_untouched_file_sends_nothing(backend):
    path = backend.source / "file"
    path.write_bytes(os.urandom(200_000))
    backend.wait_until_equal()
    before = sent(backend)

    path.chmod(0o600)
    backend.wait_until_equal()
    assert all(0 < size < 1000 for _, size in spent(backend, before))

    before = sent(backend)
    with path.open("r+b"):
        pass
    marker = backend.source / "marker"  # what comes after it has arrived, so it was dealt with
    marker.write_bytes(b"")
    backend.wait_until_equal()
    assert all(changes == 1 for changes, _ in spent(backend, before))


def test_a_new_mtime_is_sent_without_content_and_a_new_owner_is_not_sent(backend):
    path = backend.source / "file"
    path.write_bytes(os.urandom(200_000))
    backend.wait_until_equal()
    before = sent(backend)
    os.utime(path, ns=(10**18, 10**18 + 7))
    backend.wait_until_equal()
    assert all(0 < size < 1000 for _, size in spent(backend, before))
    if os.geteuid() == 0:
        before = sent(backend)
        os.chown(path, 12345, 12345)
        (backend.source / "marker").write_bytes(b"")
        backend.wait_until_equal()
        assert all(changes == 1 for changes, _ in spent(backend, before))
        assert (backend.site("one") / "file").stat().st_uid == os.geteuid()


def test_one_change_among_thousands_reads_one_file_and_lists_nothing(backend, monkeypatch):
    directory = backend.source / "flat"
    directory.mkdir()
    for number in range(3000):
        (directory / f"{number}.jpg").write_bytes(b"x" * 500)
    backend.wait_until_equal()
    wait_until_stable(backend)
    before, read = sent(backend), source_of(backend).bytes_read
    reconciles = [backend.row(host)["reconciles"] for host in backend.hosts]
    stats, walks = [], []
    source = source_of(backend)
    real_stat, walk = source.stat, source.walk
    monkeypatch.setattr(source, "stat", lambda path: stats.append(path) or real_stat(path))
    monkeypatch.setattr(source, "walk", lambda below: walks.append(below) or walk(below))

    (directory / "7.jpg").write_bytes(b"y" * 501)
    backend.wait_until_equal()

    assert all(size < 2000 for _, size in spent(backend, before))
    assert source.bytes_read - read < 10 * 501
    assert walks == []
    assert 1 <= len(stats) < 20, stats
    assert [backend.row(host)["reconciles"] for host in backend.hosts] == reconciles


def test_a_changed_copy_gets_the_whole_file_and_the_others_the_delta(backend):
    content = os.urandom(2 << 20)
    path = backend.source / "page"
    path.write_bytes(content)
    backend.wait_until_equal()
    copy = backend.site("one") / "page"
    status = copy.stat()
    copy.write_bytes(content[::-1])
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = sent(backend)

    path.write_bytes(content[: 1 << 20] + b"edited" + content[1 << 20 :])
    backend.wait_until_equal()

    one, two = (size for _, size in spent(backend, before))
    assert one > 2 << 20
    assert two < 64 << 10
    assert [backend.row(host)["logins"] for host in backend.hosts] == [1, 1]


FILE_MODES = [0o400, 0o444, 0o600, 0o644, 0o666, 0o755, 0o777, 0o2755, 0o4755, 0o6755, 0o000]
DIRECTORY_MODES = [0o555, 0o700, 0o755, 0o1777, 0o2775, 0o3777]


def test_a_tree_of_every_kind_and_mode_arrives_but_for_what_the_settings_leave_out(backend):
    """Left out: setuid and setgid bits, fifos, extended attributes, holes; a hard link becomes a file of its own."""
    source, when = backend.source, 1_234_567_890_123_456_789
    for mode in DIRECTORY_MODES:
        directory = source / f"d{mode:o}"
        directory.mkdir()
        for file_mode in FILE_MODES:
            path = directory / f"f{file_mode:o}"
            path.write_bytes(b"%o" % file_mode * 100)
            path.chmod(file_mode)
            os.utime(path, ns=(when, when + file_mode))
        for number in range(30):
            (directory / f"many-{number}").write_bytes(b"%d" % number)
        for name, target in (("dangling", "nowhere"), ("absolute", "/etc/passwd"), ("up", "../../x"), ("loop", "loop")):  # fmt: skip
            (directory / name).symlink_to(target)
        os.mkfifo(directory / "fifo")
        os.link(directory / "f644", directory / "twin")
        directory.chmod(mode)
        os.utime(directory, ns=(when, when - mode))
    with (source / "holes").open("wb") as file:
        file.truncate(4 << 20)
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(source / "holes", "user.colour", b"blue")

    def wanted():
        found = fingerprint(source)
        return {
            path: (kind, rest[0] & 0o1777, *rest[1:]) if not stat.S_ISLNK(kind) else (kind, *rest)
            for path, (kind, *rest) in found.items()
            if not stat.S_ISFIFO(kind)
        }

    assert len(wanted()) > 200
    for host in backend.hosts:
        wait_for(lambda h=host: fingerprint(backend.site(h)) == wanted(), backend.status)
        copy = backend.site(host)
        assert os.listxattr(copy / "holes") == []
        assert (copy / "d755/twin").stat().st_nlink == 1
    wait_for(backend.quiet, backend.status)
    assert {row["last_error"] for row in backend.status()["frontends"]} == {""}


def test_a_file_that_is_being_written_is_not_published_until_it_is_closed_or_long_open(backend):
    path = backend.source / "slow"
    began = time.monotonic()
    with path.open("wb", buffering=0) as file:
        file.write(b"first half")
        (backend.source / "other").write_bytes(b"x")
        wait_for(
            lambda: all((backend.site(h) / "other").exists() for h in backend.hosts), "another file"
        )
        early = any((backend.site(h) / "slow").exists() for h in backend.hosts)
        assert not early or time.monotonic() - began > 2.0  # on a very busy machine: max_wait
        wait_for(
            lambda: all((backend.site(h) / "slow").exists() for h in backend.hosts),
            "a snapshot of the file that stays open",
        )
        assert {(backend.site(h) / "slow").read_bytes() for h in backend.hosts} == {b"first half"}
        file.write(b", second half")
    backend.wait_until_equal()


def test_a_reader_sees_whole_versions_while_a_file_is_replaced_a_thousand_times(backend):
    versions = [os.urandom(1) * 60_000 for _ in range(4)]
    known = {hashlib.sha256(version).digest() for version in versions}
    path = backend.source / "page"
    path.write_bytes(versions[0])
    backend.wait_until_equal()
    copies = [backend.site(host) / "page" for host in backend.hosts]
    wrong, reads, stop = [], [0], threading.Event()

    def read():
        while not stop.is_set():
            for copy in copies:
                try:
                    digest = hashlib.sha256(copy.read_bytes()).digest()
                except FileNotFoundError:
                    digest = None
                reads[0] += 1
                if digest not in known:
                    wrong.append(digest)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        turn = 0
        # The reader may get little time on a busy machine.
        while turn < 1000 or (reads[0] <= 1000 and reader.is_alive()):
            turn += 1
            temporary = backend.source / ".page.new"
            temporary.write_bytes(versions[turn % 4])
            temporary.rename(path)
        backend.wait_until_equal()
    finally:
        stop.set()
        reader.join()

    assert reads[0] > 1000
    assert wrong == []


def test_a_restart_hashes_only_what_changed_meanwhile(tmp_path):
    with Backend(tmp_path) as backend:
        for number in range(200):
            (backend.source / f"{number}").write_bytes(os.urandom(5000))
        old = time.time_ns() - 10**10
        for path in backend.source.iterdir():
            os.utime(path, ns=(old, old))
        backend.wait_until_equal()
        wait_until_stable(backend)
    (tmp_path / "source" / "7").write_bytes(b"changed")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()

        assert source_of(backend).files_hashed == 1


def test_after_the_loss_of_the_catalog_files_are_hashed_and_not_sent(tmp_path):
    with Backend(tmp_path) as backend:
        for number in range(100):
            (backend.source / f"{number}").write_bytes(os.urandom(5000))
        backend.wait_until_equal()
    shutil.rmtree(tmp_path / "state")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()

        assert source_of(backend).files_hashed == 100
        assert all(changes == 0 and size < 2000 for changes, size in sent(backend).values())


def test_excluded_files_are_neither_sent_nor_deleted(tmp_path):
    with Backend(tmp_path, tree={"exclude": ["cache/", "*.tmp"]}) as backend:
        (backend.source / "kept").write_text("x")
        backend.wait_until_equal()
        for host in backend.hosts:
            (backend.site(host) / "cache").mkdir()
            (backend.site(host) / "cache" / "theirs").write_text("frontend's own")
        (backend.source / "a.tmp").write_text("x")
        (backend.source / "cache").mkdir()
        (backend.source / "cache" / "ours").write_text("x")
        backend.ask(command="bootstrap", host="one")

        assert (backend.site("one") / "cache" / "theirs").exists()
        assert not (backend.site("one") / "cache" / "ours").exists()
        assert not (backend.site("one") / "a.tmp").exists()


def test_without_delete_frontends_keep_what_is_gone(tmp_path):
    with Backend(tmp_path, tree={"delete": False}) as backend:
        (backend.source / "old").write_text("x")
        (backend.source / "moved").write_text("y")
        backend.wait_until_equal()
        (backend.source / "old").unlink()
        (backend.source / "moved").rename(backend.source / "target")
        wait_for(
            lambda: all((backend.site(h) / "target").exists() for h in backend.hosts),
            "the new name",
        )
        wait_for(backend.quiet, "quiet")

        assert all(
            (backend.site(h) / name).exists() for h in backend.hosts for name in ("old", "moved")
        )


def test_without_delete_a_nonempty_directory_stays_and_is_reported(tmp_path):
    with Backend(tmp_path, hosts=["one"], tree={"delete": False}) as backend:
        for name in ("full", "empty", "file"):
            (backend.source / name).mkdir()
        (backend.source / "full" / "kept").write_text("x")
        (backend.source / "file").rmdir()
        (backend.source / "file").write_text("x")
        backend.wait_until_equal()
        shutil.rmtree(backend.source / "full")
        (backend.source / "empty").rmdir()
        (backend.source / "file").unlink()
        (backend.source / "full").write_text("a file now")
        (backend.source / "empty").write_text("a file now")
        (backend.source / "file").mkdir()
        site = backend.site("one")
        wait_for(lambda: (site / "empty").is_file() and (site / "file").is_dir(), backend.status)
        wait_for(lambda: "not empty" in backend.row("one")["last_error"], backend.status)
        assert (site / "full" / "kept").read_text() == "x"
        assert [p["path"] for p in backend.row("one")["problems"]] == ["full"]
        (site / "full" / "kept").unlink()
        wait_for((site / "full").is_file, backend.status)
        backend.wait_until_equal()


def test_a_source_that_vanishes_deletes_nothing_and_resumes_after_its_return(backend):
    (backend.source / "file").write_text("x")
    backend.wait_until_equal()
    away = backend.source.with_name("away")
    backend.source.rename(away)
    wait_for(lambda: backend.status()["trees"][0]["state"] == "halted", "the halt")

    rows = backend.status()["frontends"]
    assert {row["state"] for row in rows} == {"halted"}
    assert {row["last_error"] for row in rows} == {
        "it waits to be compared with a tree that is halted"
    }

    backend.source.mkdir()  # an empty mount point
    assert all((backend.site(h) / "file").exists() for h in backend.hosts)
    assert backend.status()["trees"][0]["state"] == "halted"
    backend.source.rmdir()
    away.rename(backend.source)
    (backend.source / "new").write_text("y")
    backend.wait_until_equal()

    assert (backend.site("one") / "file").exists()


def test_verify_finds_and_repairs_what_no_size_and_no_time_betrays(backend):
    (backend.source / "file").write_text("right")
    backend.wait_until_equal()
    copy = backend.site("one") / "file"
    times = copy.stat()
    copy.write_text("wrong")
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))

    reports = {report["host"]: report for report in backend.ask(command="verify")}
    assert (reports["one"]["paths"], reports["two"]["differing"]) == (["file"], 0)

    backend.ask(command="verify", repair=True)
    wait_for(lambda: copy.read_text() == "right", "the repair")
