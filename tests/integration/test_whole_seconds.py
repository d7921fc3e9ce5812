"""Frontends whose file system keeps modification times in whole seconds, such as ext4 with inodes of 128 bytes."""

import errno
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from replicator.agent.granularity import PROBE, granularity_at
from replicator.model import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from replicator.wire import changes
from replicator.wire.changes import SetAttributes
from replicator.wire.messages import Batch
from replicator.wire.opening import GRANULARITIES
from tests.support.backend import Backend
from tests.support.disks import volume
from tests.support.looking import below
from tests.support.pinned import HELLO, TIME, Agent, put, strays
from tests.support.waiting import wait_for

SECOND = 1_000_000_000
SMALL_INODES = ("-I", "128")
TEMPORARY = TEMPORARY_PREFIX + b"probe" + TEMPORARY_SUFFIX


@pytest.fixture
def seconds(tmp_path):
    with volume(tmp_path / "disk", options=SMALL_INODES) as made:
        yield made.where


@pytest.fixture
def nameless(request, monkeypatch):
    """File systems with, and (as FAT and NFS) without, files that have no name."""
    if not request.param:
        opened = os.open

        def refuse(path, flags, *more, **named):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no files without a name")
            return opened(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("nameless", [True, False], indirect=True)
def test_the_granularity_of_a_root_is_found_out_and_nothing_is_left(tmp_path, seconds, nameless):
    (tmp_path / "fine").mkdir()
    os.utime(seconds, ns=(TIME, TIME))
    before = seconds.stat().st_mtime_ns
    for where, expected in ((seconds, SECOND), (tmp_path / "fine", 1)):
        fd = os.open(where, os.O_PATH)
        assert granularity_at(fd, TEMPORARY) == expected
        os.close(fd)
        assert not strays(where)
    assert seconds.stat().st_mtime_ns == before


def test_the_probe_distinguishes_all_granularities():
    assert len({PROBE // each * each for each in GRANULARITIES}) == len(GRANULARITIES)
    assert all(GRANULARITIES[-1] % each == 0 for each in GRANULARITIES)


def test_an_agent_reports_the_granularity_and_sets_attributes_without_content(seconds):
    with Agent(seconds) as agent:
        assert agent.open().granularity == SECOND
        agent.send(Batch((put(b"f"),)), HELLO)
        assert agent.answers(1) == {1: ""}
        touched = SetAttributes(2, 1, b"f", 0o600, 5, TIME + SECOND, TIME, b"")
        stale = touched._replace(number=3, old_mtime_ns=TIME - SECOND)
        agent.send(Batch((touched, stale)))
        assert agent.answers(2, 3) == {2: "", 3: changes.BASE_MISMATCH}
    status = (seconds / "site/f").stat()
    assert status.st_mtime_ns == (TIME + SECOND) // SECOND * SECOND


SAME_SECOND = TIME // SECOND * SECOND


def write(path, letter, ns):
    """Write a file of a size that is always the same, with a time that lies in the same second as all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(letter * 100)
    os.utime(path, ns=(SAME_SECOND + ns, SAME_SECOND + ns))


@pytest.fixture
def two(tmp_path):
    """A backend with a frontend that keeps whole seconds (`volume`), and one that keeps nanoseconds (`two`)."""
    with (
        volume(tmp_path, options=SMALL_INODES) as made,
        Backend(tmp_path, ["volume", "two"]) as backend,
    ):
        assert made.where == backend.connector.root("volume")
        for number, name in enumerate(("a", "d/b", "e/b", "f")):
            write(backend.source / name, name[-1], 5 + number)
        (backend.source / "l").symlink_to("a")
        wait_until_contents_are_equal(backend)
        yield backend


def contents(root):
    found = {}
    for path in below(root):
        with suppress(FileNotFoundError, NotADirectoryError):  # it changes meanwhile
            found[str(path.relative_to(root))] = path.read_bytes() if path.is_file() else None
    return found


def wait_until_contents_are_equal(backend):
    def equal():
        if not backend.quiet():
            return False
        source = contents(backend.source)
        return all(contents(backend.site(host)) == source for host in backend.hosts)

    wait_for(equal, backend.explain_status, pause=0.02)


def away(backend, host):
    backend.connector.refused.add(host)
    backend.connector.kill(host)
    wait_for(lambda: backend.row(host)["state"] == "retrying", backend.explain_status)


def back(backend, host):
    """Let a frontend connect again, and wait until it was compared."""
    before = replica(backend, host).full_comparisons
    backend.connector.refused.discard(host)
    wait_for(lambda: replica(backend, host).full_comparisons > before, backend.explain_status)


def replica(backend, host):
    return next(one for one in backend.app.service.fleet if one.address.host == host)


def verified(backend):
    return {row["host"]: row["differing"] for row in backend.ask(command="verify") if "host" in row}


def test_verify_finds_a_frontend_with_whole_seconds_equal_unless_contents_differ(two):
    assert verified(two) == {"volume": 0, "two": 0}
    copy = two.site("volume") / "d/b"
    write(copy, "x", 0)
    assert verified(two) == {"volume": 1, "two": 0}


def test_a_frontend_with_whole_seconds_that_comes_back_is_sent_and_hashes_nothing(two):
    for host in two.hosts:
        away(two, host)
    sent = {host: two.row(host)["files_sent"] for host in two.hosts}
    for host in two.hosts:
        back(two, host)
    wait_until_contents_are_equal(two)
    assert {host: two.row(host)["files_sent"] for host in two.hosts} == sent
    os.chmod(two.source / "a", 0o600)
    wait_for(lambda: two.site("volume").joinpath("a").stat().st_mode & 0o777 == 0o600, "the mode")


def in_place(source):
    write(source / "a", "A", 100)


def renamed_over(source):
    write(source / "new", "A", 100)
    (source / "new").rename(source / "a")


def removed_and_made_anew(source):
    (source / "a").unlink()
    write(source / "a", "A", 100)


def exchanged_for_another(source):
    write(source / "d/b", "B", 100)
    (source / "d/b").rename(source / "e/b")


def directory_replaced(source):
    shutil.rmtree(source / "e")
    write(source / "g/b", "G", 100)
    (source / "g").rename(source / "e")


CHANGES = [in_place, renamed_over, removed_and_made_anew, exchanged_for_another, directory_replaced]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_another_version_of_the_same_second_and_size_arrives_after_a_disconnect(
    tmp_path, change, restart
):
    with volume(tmp_path, options=SMALL_INODES):
        with Backend(tmp_path, ["volume", "two"]) as backend:
            for name in ("a", "d/b", "e/b"):
                write(backend.source / name, name[0], 5)
            wait_until_contents_are_equal(backend)
            away(backend, "volume")
            change(backend.source)
            source, there = backend.source, backend.site("two")
            wait_for(lambda: contents(there) == contents(source), backend.explain_status)
            if not restart:
                back(backend, "volume")
                wait_until_contents_are_equal(backend)
        if restart:
            with Backend(tmp_path, ["volume", "two"]) as backend:
                wait_until_contents_are_equal(backend)


# Few names, one size and one second: only the contents distinguish versions on the frontend.
names = st.sampled_from(["a", "b", "d/a", "d/b", "e/a", "e/b"])
directories = st.sampled_from(["d", "e", "g"])
hosts = st.sampled_from(["volume", "two"])


class Versions(RuleBasedStateMachine):
    """Versions of the same size and second are written, while agents are killed and connections are refused."""

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="seconds-"))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.directory)
        self.stack.enter_context(volume(self.directory, options=SMALL_INODES))
        self.backend = self.stack.enter_context(Backend(self.directory, ["volume", "two"]))
        self.written = 0

    @rule(name=names, over=st.booleans())
    def write(self, name, over):
        self.written += 1
        letter = chr(ord("A") + self.written % 50)
        target = self.backend.source / name
        write(target.with_name("new") if over else target, letter, self.written)
        if over:
            target.with_name("new").rename(target)

    @rule(name=names)
    def remove(self, name):
        (self.backend.source / name).unlink(missing_ok=True)

    @rule(name=names, other=names)
    def rename(self, name, other):
        with suppress(FileNotFoundError):
            (self.backend.source / name).rename(self.backend.source / other)

    @rule(directory=directories, other=directories)
    def rename_directory(self, directory, other):
        if (self.backend.source / directory).is_dir() and directory != other:
            shutil.rmtree(self.backend.source / other, ignore_errors=True)
            (self.backend.source / directory).rename(self.backend.source / other)

    @rule(host=hosts)
    def kill_agent(self, host):
        self.backend.connector.kill(host)

    @rule(host=hosts)
    def cut_link(self, host):
        channel = self.backend.connector.channels.get(host)
        if channel is not None:
            self.backend.call(channel.close())

    @rule(host=hosts)
    def refuse(self, host):
        self.backend.connector.refused.add(host)
        self.backend.connector.kill(host)

    @rule(host=hosts)
    def allow(self, host):
        self.backend.connector.refused.discard(host)

    @rule(host=hosts)
    def wait_until_compared(self, host):
        if host not in self.backend.connector.refused:
            wait_for(lambda: self.backend.row(host)["state"] == "live", self.backend.explain_status)

    @rule()
    def breathe(self):
        self.backend.status()  # several turns of its event loop, and a query of each catalog

    def teardown(self):
        if hasattr(self, "stack"):
            with self.stack:
                self.backend.connector.refused.clear()
                wait_until_contents_are_equal(self.backend)


Versions.TestCase.settings = settings(
    max_examples=int(os.environ.get("REPLICATOR_MODEL_EXAMPLES", "12")),
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking reruns whole daemons
    suppress_health_check=list(HealthCheck),
)
TestVersions = Versions.TestCase
