"""A hostile local user with write access to the tree: attacks on files outside, on other uploaders, on readers of the log."""

import hashlib
import os
import random
import re
import shutil
import socket
import stat
import sys
import threading
import time
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from replicator.cli.status import _console
from replicator.cli.status_view import view
from replicator.core.rechecks import Reason
from replicator.engine.ingest.contents import LARGE
from replicator.model import MAX_DEPTH
from tests.support.backend import Backend
from tests.support.tools import missing
from tests.support.uploader import (
    catalog_of,
    exchange,
    in_a_loop,
    intake_of,
    temporaries,
    upload,
)
from tests.support.waiting import FOREVER, wait_for

SECONDS = float(os.environ.get("REPLICATOR_RACE_SECONDS", "3"))
CANARY = b"SECRET-CANARY" * 100
CONTROLS = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def backend(tmp_path):
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        yield backend
        assert not temporaries(backend)


@pytest.fixture
def stage(tmp_path):
    """Where the uploader prepares things, beside the tree."""
    made = tmp_path / "stage"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path):
    """What an uploader may not read, and the daemon may."""
    made = tmp_path / "outside"
    made.mkdir(mode=0o700)
    for name in ("inner", "secret-name"):
        (made / name).write_bytes(CANARY)
        (made / name).chmod(0o600)
    return made


def contents(directory):
    """Yield every file's content below a directory, while it changes.

    By descriptors: the copy flips as well, and a path would lead through the symlink that is there a moment later.
    """
    for _, _, files, at in os.fwalk(directory):
        for name in files:
            with suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                fd = os.open(name, flags, dir_fd=at)
                with open(fd, "rb") as file:
                    yield name, file.read()


def race_and_upload(backend, code, stage, seconds=SECONDS):
    """Upload while another process runs `code` in a loop; return how long each upload took."""
    took, until = [], time.monotonic() + seconds
    with in_a_loop(stage, code):
        while time.monotonic() < until:
            took.append(upload(backend, f"other-{len(took)}"))
            for host in backend.hosts:
                for name, content in contents(backend.connector.root(host)):
                    assert b"CANARY" not in content, name
                    assert name != "secret-name"
    return took


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_flips_with_a_symlink_brings_nothing_from_outside(backend, stage, outside, kind):
    at = backend.source / "u"
    if kind == "file":
        at.write_bytes(b"mine" * 325)  # as long as the secret
        (stage / "u").symlink_to(outside / "inner")
        touch = "os.utime('../source/u', follow_symlinks=False)"
    else:
        at.mkdir()
        (at / "inner").write_bytes(b"mine" * 325)
        (stage / "u").symlink_to(outside)
        touch = "os.utime('../source/u/inner') if not os.path.islink('../source/u') else None"
    flip = f"exchange('u', '../source/u')\n{touch}\ntime.sleep(random.random() * 0.002)"
    assert race_and_upload(backend, flip, stage)

    backend.wait_until_equal()
    records = catalog_of(backend)
    assert hashlib.sha256(CANARY).digest() not in {r.entry.digest for r in records.values()}
    assert not [path for path in records if b"secret" in path]
    assert b"CANARY" not in b"".join(p.read_bytes() for p in (backend.source.parent / "state").iterdir() if p.is_file())  # fmt: skip


def test_a_name_that_flips_with_a_fifo_delays_no_other_upload(backend, stage):
    (backend.source / "u.jpg").write_bytes(b"mine")
    os.mkfifo(stage / "u.jpg")
    flip = "exchange('u.jpg', '../source/u.jpg')\ntime.sleep(random.random() * 0.002)"
    assert max(race_and_upload(backend, flip, stage)) < 10

    if not (backend.source / "u.jpg").is_file():
        exchange(stage / "u.jpg", backend.source / "u.jpg")
    backend.wait_until_equal()


def make_device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:
        missing("the right to make a device")


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, make_device, make_socket])
def test_a_special_file_is_reported_once_however_often_it_is_touched(backend, make):
    with capture_logs() as lines:
        make(backend.source / "p.png")
        upload(backend, "before")
        for turn in range(20):
            os.utime(backend.source / "p.png")
            upload(backend, f"after-{turn}")
    logged = [line for line in lines if line.get("path") == "p.png"]
    assert [line["event"] for line in logged] == ["special file left out"]
    (backend.source / "p.png").unlink()
    backend.wait_until_equal()


def test_a_huge_file_is_read_beside_the_uploads_of_others(backend, monkeypatch):
    source = intake_of(backend).tree.source
    real, go = source.snapshot, threading.Event()

    def slow(path, base, **how):
        return real(path, base, **how) if path != b"huge" or go.wait(30) else None

    monkeypatch.setattr(source, "snapshot", slow)
    for size in (LARGE + 1, LARGE + 2):  # new, and changed
        go.clear()
        with (backend.source / "huge").open("wb") as file:
            file.truncate(size)
        try:
            assert upload(backend, f"other-{size}") < 10
            assert not backend.quiet()
        finally:
            go.set()
        backend.wait_until_equal()
    assert catalog_of(backend)[b"huge"].entry.size == LARGE + 2


def test_a_huge_file_that_is_renamed_or_removed_while_it_is_read(backend, monkeypatch):
    source = intake_of(backend).tree.source
    real, reading, go = source.snapshot, threading.Event(), threading.Event()

    def slow(path, base, **how):
        taken = real(path, base, **how)
        if path.startswith(b"huge"):
            reading.set()
            go.wait(30)
        return taken

    monkeypatch.setattr(source, "snapshot", slow)
    for name in ("huge-1", "huge-2", "huge-3"):
        with (backend.source / name).open("wb") as file:
            file.truncate(LARGE + 1)
    try:
        assert reading.wait(FOREVER)
        (backend.source / "huge-1").rename(backend.source / "huge-4")
        (backend.source / "huge-2").unlink()
        with (backend.source / "huge-3").open("r+b") as file:
            file.write(b"changed")
        upload(backend, "other")
    finally:
        go.set()
    backend.wait_until_equal()


def decoys(blocks, seed, block=8192):
    """Blocks whose weak sums are all equal, whatever the secret: they differ in bytes that no window covers."""
    rng = random.Random(seed)
    heads, gap = b"h" * 32, random.Random(0).randbytes(block // 2 - 32)
    return b"".join(
        heads + rng.randbytes(8) + gap[8:] + heads + gap[:-8] + rng.randbytes(8)
        for _ in range(blocks)
    )


def test_decoys_for_the_matcher_delay_no_other_upload(backend):
    path = backend.source / "decoys"
    path.write_bytes(decoys(4000, 1))
    backend.wait_until_equal()
    path.write_bytes(b"x" + decoys(4000, 2))
    assert upload(backend, "other") < 10
    backend.wait_until_equal()


NAMES = [
    b"\x1b[31mred\x1b]0;title\x07", b"new\nline\r\n", b"\xff\xfe\x80", b"n" * 255, b"-rf", b"\xe2\x80\xaetxt.exe",
    "é".encode(), "e\u0301".encode(), b"A", b"a", b"\xc2\x9b31m", b"\x7f\t\x01", b"[red]", b"[bold]b", b"a[#x]b", b":smile:", b" ", b"*",
]  # fmt: skip


def test_names_arrive_byte_for_byte_and_never_reach_a_terminal_raw(backend, capfd):
    root = os.fsencode(backend.source)
    for name in NAMES:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
        os.mkfifo(os.path.join(root, name[:200] + b"fifo"))  # something to report
        if len(name) < 15 and b"/" not in name:
            os.makedirs(
                os.path.join(root, name + b"d", *[b"d"] * MAX_DEPTH)
            )  # and something unreadable
    names = {name for name in os.listdir(root) if not name.endswith(b"fifo")}
    sites = [os.fsencode(backend.site(host)) for host in backend.hosts]
    wait_for(lambda: all(set(os.listdir(site)) == names for site in sites), backend.explain)
    wait_for(backend.quiet, backend.explain)
    for site in sites:
        for name in NAMES:
            with open(os.path.join(site, name), "rb") as file:
                assert file.read() == name

    deep = [name for name in names if name not in NAMES]
    unreadable = lambda: backend.status()["trees"][0]["unreadable"]
    wait_for(lambda: len(unreadable()) == len(deep) > 10, unreadable)
    status = backend.status()
    console = _console()
    with console.capture() as captured:
        for line in view(status, width=None):
            console.print(line)
    output = captured.get() + "".join(capfd.readouterr())
    assert "special file left out" in output
    assert "[bold]bd/" in captured.get().replace("\n", "")
    assert not CONTROLS.findall(output)


def test_a_tree_of_four_thousand_levels_is_reported_once_as_a_problem(backend):
    def dive(levels):
        here = os.open(backend.source, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir("d", dir_fd=here)
            here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
            os.close(above)
        os.close(here)

    def known_depth():
        return max((path.count(b"/") + 1 for path in catalog_of(backend)), default=0)

    for number in range(
        250
    ):  # so that what is deep is not most of the tree: see test_delete_guard.py
        (backend.source / f"shallow-{number}").touch()
    backend.wait_until_equal()
    before = len(os.listdir("/proc/self/fd"))
    with capture_logs() as lines:
        dive(4000)
        wait_for(lambda: known_depth() == MAX_DEPTH and backend.quiet(), backend.status)
        for turn in range(5):
            upload(backend, f"other-{turn}")
        (unreadable,) = backend.status()["trees"][0]["unreadable"]
        assert unreadable == "/".join("d" * MAX_DEPTH)
        deepest = [b"/".join([b"d"] * MAX_DEPTH)]
        backend.call(intake_of(backend)._worker._recheck(Reason.UNREADABLE, deepest))
        wait_for(backend.quiet, backend.status)
        assert len(backend.status()["trees"][0]["unreadable"]) == 1
    assert len([line for line in lines if line["event"] == "unreadable"]) == 1
    wait_for(
        lambda: len(os.listdir("/proc/self/fd")) <= before + 20, "descriptors to be given back"
    )
    for host in backend.hosts:
        here = backend.site(host).joinpath(*"d" * MAX_DEPTH)
        assert here.is_dir()
        assert not list(here.iterdir())

    remove_deep(backend.source / "d")
    backend.wait_until_equal()
    assert backend.status()["trees"][0]["unreadable"] == []


def remove_deep(top):
    """Remove a chain of directories of any depth: cut it where paths are still short, and go on with the rest."""
    stage = top.parent.parent / "cut"
    at = top
    while True:
        here, levels = at, 0
        while levels < 150 and (below := here / "d").is_dir():
            here, levels = below, levels + 1
        if levels < 150:
            shutil.rmtree(at)
            return
        rest = stage.with_name(f"cut-{time.monotonic_ns()}")
        here.rename(rest)
        shutil.rmtree(at)
        at = rest


def test_a_path_longer_than_the_kernel_takes_at_once_within_the_limits(backend):
    part = "n" * 190
    here = os.open(backend.source, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(part, dir_fd=here)
        here, above = os.open(part, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    with open(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"leaf")
    os.close(here)
    path = os.fsencode("/".join([part] * 20 + ["leaf"]))
    assert len(os.fsencode(backend.site("one")) + path) > 3800
    wait_for(lambda: backend.quiet() and path in catalog_of(backend), backend.status)
    assert upload(backend, "other") < 10


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_flood_of_renames_delays_other_uploads_little_and_ends_equal(backend, kind):
    one, two = backend.source / "a", backend.source / "b"
    if kind == "file":
        one.write_bytes(b"x" * 1000)
    else:
        one.mkdir()
        for number in range(100):
            (one / str(number)).write_bytes(b"x" * 1000)
    backend.wait_until_equal()
    before = backend.row("one")["files_sent"]
    for _ in range(5000):
        one.rename(two)
        two.rename(one)
    assert upload(backend, "other") < 10
    backend.wait_until_equal()
    assert backend.row("one")["files_sent"] - before < 2000  # of 10,000
    assert (
        backend.status()["trees"][0]["state"] == "watching"
    )  # nothing was taken for a mass deletion


def test_a_burst_of_tiny_files_does_not_delay_other_uploads_and_all_arrive(backend):
    (backend.source / "burst").mkdir()
    count = int(os.environ.get("REPLICATOR_BURST_FILES", "3000"))

    def burst():
        for number in range(count):
            (backend.source / "burst" / str(number)).write_bytes(b"%d" % number)

    uploader = threading.Thread(target=burst)
    uploader.start()
    began, took = time.monotonic(), upload(backend, "other")
    uploader.join()
    backend.wait_until_equal(120)
    print(f"{count} files: the other after {took:.2f} s, all after {time.monotonic() - began:.2f} s", file=sys.stderr)  # fmt: skip


def test_names_of_our_temporaries_are_nobodys_and_confuse_nothing(backend):
    ours = ".replicator-1-1.tmp"
    (backend.source / ours).write_bytes(b"mine")
    (backend.source / "d").mkdir()
    (backend.source / "d" / ours).mkdir()
    (backend.source / "d" / ours / "x").write_bytes(b"mine")
    (backend.source / ".replicator-mine").write_bytes(b"an ordinary name")
    upload(backend, "other")
    wait_for((backend.site("two") / ".replicator-mine").exists, "an ordinary name")
    assert not temporaries(backend)
    assert (backend.source / ours).read_bytes() == b"mine"

    (backend.source / ours).rename(backend.source / "file")
    (backend.source / "d" / ours).rename(backend.source / "directory")
    (backend.source / "other").rename(backend.source / ours)
    wait_for(lambda: not (backend.site("two") / "other").exists(), backend.explain)
    (backend.source / ours).unlink()
    backend.wait_until_equal()
    assert (backend.site("one") / "directory" / "x").read_bytes() == b"mine"
