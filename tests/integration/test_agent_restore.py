"""A real agent process restores a tree from a real HTTP server, while its backend goes on sending changes, or kills it."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from replicator.transport import bundle
from replicator.wire import frames, messages
from replicator.wire.changes import Delete, MakeDirectory, PutFile
from replicator.wire.messages import (
    Acks,
    Batch,
    Hello,
    Listing,
    ListTree,
    NeedUrls,
    Opened,
    OpenTree,
    Restore,
    Restored,
    Urls,
)
from tests.support.bases import MadeBase
from tests.support.http_store import HttpStore
from tests.support.pinned import Agent
from tests.support.processes import children_of, runs
from tests.support.restoring import Pausing
from tests.support.sshd import find_python
from tests.support.waiting import wait_for

TIME = 1_600_000_000_123_456_789
FEATURES = messages.FEATURES


class StreamedAgent:
    """An agent that was streamed to a Python, as over SSH, with the backend's end of its pipes.

    Attributes:
        features: of its hello.
        said: every message that it has sent, in order.
    """

    def __init__(self, python=sys.executable):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, "-I", "-S", "-c", bundle.LOADER], stdin=pipe, stdout=pipe, bufsize=0
        )
        self.decoder = frames.Decoder()
        self.said = []
        self.ready = []
        code = bundle.agent_code()
        while code:
            code = code[self.process.stdin.write(code) :]
        seen = b""
        while frames.MARKER not in seen:
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece
            seen += piece
        self.decoder.receive(seen.partition(frames.MARKER)[2])
        self.send(Hello(messages.VERSION, FEATURES, "backend"))
        self.features = self.hear(Hello).features

    def send(self, message, *payload):
        self.process.stdin.write(frames.encode(message.header(), payload))

    def hear(self, kind):
        """Return the next message of a kind; answer requests for URLs meanwhile."""
        while True:
            self.ready += list(self.decoder.frames())
            while self.ready:
                message = messages.decode(self.ready.pop(0).header)
                self.said.append(message)
                if isinstance(message, NeedUrls):
                    urls = [(pack, self.url(pack)) for pack in message.packs]
                    self.send(Urls(message.tree, tuple(urls)))
                if isinstance(message, kind):
                    return message
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            assert data, "the agent has ended"
            self.decoder.receive(data)

    def open(self, root, tree=1, **more):
        self.send(OpenTree(tree, os.fsencode(root), **more))
        return self.hear(Opened)

    def put(self, path, content, number):
        digest = hashlib.sha256(content).digest()
        row = PutFile(number, 1, path, 0o644, len(content), TIME, digest)
        self.send(Batch((row,)), content)

    def restore(self, base, http, most=1_000_000, tree=1):
        self.url = lambda pack: http.url(base.digest(pack).hex())
        self.send(Restore(tree, base.manifest, base.size, self.url(-1), most))

    def ended(self):
        """Return the last report of the restore."""
        while not (report := self.hear(Restored)).end:
            pass
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.process:
            self.process.kill()


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    for d in range(20):
        (root / f"d{d}").mkdir(parents=True)
        for f in range(20):
            (root / f"d{d}" / f"f{f}").write_bytes(os.urandom(5000))
    return root


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def http():
    with HttpStore() as http:
        yield http


@pytest.fixture
def base(source, http):
    base = MadeBase(source, pack_size=100_000)
    http.objects.update(base.objects)
    return base


def equal(one, other):
    return not subprocess.run(["diff", "-r", one, other], check=False, capture_output=True).stdout


def hold_back(base, http, keep=2):
    """Make all packs but the first ones wait; return (event that one is requested, event that releases them)."""
    pause = Pausing()
    for pack in base.packs[keep:]:
        http.always[pack.digest.hex()] = pause
    return pause.requested, pause.released


@pytest.mark.parametrize("version", ["3.9", "here"])
def test_a_streamed_agent_restores_a_tree(source, target, base, http, version):
    with StreamedAgent(sys.executable if version == "here" else find_python(version)) as agent:
        assert "restore" in agent.features
        agent.open(target, stamp=b".replicator/stamp")
        agent.restore(base, http)
        report = agent.ended()
        assert (report.files, report.failed, report.error) == (420, 0, "")
        assert (target / ".replicator" / "stamp").exists()
    (target / ".replicator" / "stamp").unlink()
    (target / ".replicator").rmdir()
    assert equal(source, target)


def test_the_main_loop_goes_on_during_a_restore(source, target, base, http):
    """Live changes win over the base, whether they create, replace or remove; listings are answered."""
    requested, released = hold_back(base, http)
    with StreamedAgent() as agent:
        agent.open(target)
        agent.open(target.parent / "second", tree=2)
        agent.restore(base, http)
        agent.hear(NeedUrls)
        assert requested.wait(30)
        last = base.files[-1].path  # in a pack that is held back
        agent.send(Batch((MakeDirectory(1, 1, b"d9", 0o711, TIME),)))
        agent.put(b"d9/f1", b"newer", 2)
        agent.put(last, b"newer still", 3)
        agent.send(Batch((Delete(4, 1, last), Delete(5, 1, b"d9/f2"))))
        done = set()
        while done != {1, 2, 3, 4, 5}:
            done |= set(agent.hear(Acks).done)
        agent.send(ListTree(7, 2, b"", digest=False, credit=4))
        assert agent.hear(Listing).end
        released.set()
        report = agent.ended()
    assert (target / "d9" / "f1").read_bytes() == b"newer"
    assert not (target / "d9" / "f2").exists()
    assert not (target / os.fsdecode(last)).exists()
    status = (target / "d9").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o711, TIME)
    assert (report.files, report.skipped, report.failed) == (417, 3 + 0, 0)
    assert not list(target.rglob(".replicator-*"))


def test_a_killed_agent_leaves_no_wrong_file_and_the_next_one_resumes(source, target, base, http):
    requested, released = hold_back(base, http, keep=8)
    with StreamedAgent() as agent:
        agent.open(target)
        agent.restore(base, http)
        agent.hear(NeedUrls)
        assert requested.wait(30)
        (second,) = children_of(agent.process.pid)
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        wait_for(lambda: not runs(second), "the end of the second process")
    released.set()
    for path in target.rglob("f*"):
        if path.is_file():
            assert path.read_bytes() == (source / path.relative_to(target)).read_bytes()
    http.always.clear()
    with StreamedAgent() as agent:
        agent.open(target)
        agent.restore(base, http)
        report = agent.ended()
        assert report.failed == 0
        assert report.skipped >= 20  # the directories at least
        agent.send(ListTree(7, 1, b"", digest=False, credit=4))
        agent.hear(Listing)  # which removes the temporaries of the killed agent
    assert equal(source, target)


def test_an_agent_ends_with_its_backend_although_the_store_is_silent(target, base, http):
    requested, released = hold_back(base, http, keep=0)
    with StreamedAgent() as agent:
        agent.open(target)
        agent.restore(base, http)
        agent.hear(NeedUrls)
        assert requested.wait(30)
        (second,) = children_of(agent.process.pid)
        agent.process.stdin.close()
        assert agent.process.wait(30) == 0
        assert not runs(second)
    released.set()
    assert not list(target.rglob(".replicator-*"))


def test_a_tree_that_is_opened_again_is_not_restored_any_more(target, base, http):
    requested, released = hold_back(base, http, keep=0)
    with StreamedAgent() as agent:
        agent.open(target)
        agent.restore(base, http)
        agent.hear(NeedUrls)
        assert requested.wait(30)
        agent.open(target)
        released.set()
        agent.restore(base, http)
        report = agent.ended()
        assert (report.failed, report.error) == (0, "")


def test_an_agent_stays_small_while_it_restores(tmp_path, target, http):
    source = tmp_path / "big"
    source.mkdir()
    for n in range(8):
        (source / f"f{n}").write_bytes(os.urandom(24 << 20))
    base = MadeBase(source)
    http.objects.update(base.objects)
    with StreamedAgent() as agent:
        agent.open(target)
        agent.restore(base, http)
        assert agent.ended().failed == 0
        with open(f"/proc/{agent.process.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert equal(source, target)
    assert peak < 64 << 10, f"{peak >> 10} MiB"


def pinned_restore(agent, base, http, root=b"/site"):
    """Have a pinned agent restore a tree; return its last report."""
    assert agent.open(root).error == ""
    url = http.url(base.manifest.hex())
    agent.send(Restore(1, base.manifest, base.size, url, 1000))
    while True:
        message = agent.hear()
        if isinstance(message, NeedUrls):
            urls = [(pack, http.url(base.digest(pack).hex())) for pack in message.packs]
            agent.send(Urls(1, tuple(urls)))
        elif isinstance(message, Restored) and message.end:
            return message


def test_a_pinned_agent_restores_from_the_store_that_it_was_given(tmp_path, source, base, http):
    jail = tmp_path / "jail"
    jail.mkdir()
    with Agent(jail, arguments=("--store", "127.0.0.1", "other.example")) as agent:
        assert "restore" in agent.offered
        report = pinned_restore(agent, base, http)
        assert (report.files, report.failed, report.error) == (420, 0, "")
        confinement = agent.about
    assert equal(source, jail / "site")
    assert "landlock" in confinement


def test_a_pinned_agent_contacts_no_other_host(tmp_path, base, http):
    jail = tmp_path / "jail"
    jail.mkdir()
    with Agent(jail, arguments=("--store", "store.example")) as agent:
        report = pinned_restore(agent, base, http)
    assert report.error == "this agent may not contact 127.0.0.1 (--store)"
    assert http.requests == []


def test_a_pinned_agent_without_a_store_does_not_restore(tmp_path, base, http):
    jail = tmp_path / "jail"
    jail.mkdir()
    with Agent(jail) as agent:
        assert "restore" not in agent.offered
        agent.open()
        agent.send(Restore(1, base.manifest, base.size, http.url(base.manifest.hex()), 1000))
        assert agent.hear() is None
        assert "may not contact an object store (--store)" in agent.end()[1]
    assert http.requests == []
