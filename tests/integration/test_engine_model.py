"""The whole engine against a model that is the file system itself.

Random changes to a tree, with agents killed and links cut in between; in the end every frontend equals the source in kind,
mode, size, time in nanoseconds, content and link target. While it runs, a reader reads one file of each frontend and must
find an old or a new version, whole.
"""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replicator.delta import signature
from tests.support.backend import Backend

EXAMPLES = int(os.environ.get("REPLICATOR_MODEL_EXAMPLES", "12"))
STEPS = int(os.environ.get("REPLICATOR_MODEL_STEPS", "25"))

# Few names, so that paths meet: a file where a directory was, a rename over something, a name that comes back.
names = st.sampled_from(["a", "b", "c.txt", "d", "new\nline", "\udcff\udcfe", "-x"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
seeds = st.integers(0, 255)
# Across the sizes at which the engine changes its ways: whole, delta, streamed.
sizes = st.sampled_from([0, 1, 100, 5_000, 70_000, 300_000, 2_000_000])
VERSIONS = [bytes([65 + n]) * 150_000 for n in range(3)]


def content(size, seed):
    block = bytes((i * 7 + seed * 13) % 256 for i in range(256))
    return (block * (size // 256 + 1))[:size]


class Replication(RuleBasedStateMachine):
    """One backend, two frontends, and random changes of the tree."""

    @initialize()
    def begin(self):
        assert signature.block_size_for(70_000) < 70_000
        self.directory = Path(tempfile.mkdtemp(prefix="model-"))
        self.backend = Backend(self.directory)
        self.root = self.backend.source
        (self.root / "watched").write_bytes(VERSIONS[0])
        self.turn = 0

    def path(self, path):
        return self.root / path

    @rule(path=paths, size=sizes, seed=seeds)
    def write(self, path, size, seed):
        target = self.path(path)
        self.make_room(target.parent)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif target.is_symlink():
            target.unlink()
        target.write_bytes(content(size, seed))

    def make_room(self, directory):
        """Make a directory, whatever stands in its way."""
        for part in [
            *reversed(directory.relative_to(self.root).parents),
            directory.relative_to(self.root),
        ]:
            place = self.root / part
            if place.is_symlink() or place.is_file():
                place.unlink()
            place.mkdir(exist_ok=True)

    def files(self):
        return sorted(
            p
            for p in self.root.rglob("*")
            if p.is_file() and not p.is_symlink() and p.name != "watched"
        )

    def directories(self):
        return sorted(p for p in self.root.rglob("*") if p.is_dir() and not p.is_symlink())

    def pick(self, candidates, number):
        return candidates[number % len(candidates)] if candidates else None

    @rule(number=seeds, size=st.sampled_from([1, 1000, 100_000]))
    def append(self, number, size):
        if target := self.pick(self.files(), number):
            with target.open("ab") as file:
                file.write(content(size, number))

    @rule(number=seeds, share=st.floats(0, 1), insert=st.booleans())
    def edit_in_the_middle(self, number, share, insert):
        if target := self.pick(self.files(), number):
            old = target.read_bytes()
            at = int(len(old) * share)
            target.write_bytes(old[:at] + b"edited" + old[at if insert else at + 6 :])

    @rule(number=seeds, share=st.floats(0, 1))
    def truncate(self, number, share):
        if target := self.pick(self.files(), number):
            os.truncate(target, int(target.stat().st_size * share))

    @rule(number=seeds, path=paths)
    def rename(self, number, path):
        """A file or a directory, over whatever is there."""
        source = self.pick(self.files() + self.directories(), number)
        target = self.path(path)
        if (
            source is None
            or target == source
            or source in target.parents
            or target in source.parents
        ):
            return
        self.make_room(target.parent)
        if not source.exists():
            return
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        if source.is_dir() and (target.is_symlink() or target.exists()):
            target.unlink()
        source.rename(target)

    @rule(path=paths, link=st.sampled_from(["a", "../x", "/etc/passwd", "nowhere", "b/c"]))
    def symlink(self, path, link):
        target = self.path(path)
        self.make_room(target.parent)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif target.is_symlink() or target.exists():
            target.unlink()
        target.symlink_to(link)

    @rule(number=seeds)
    def delete(self, number):
        target = self.pick(self.files() + self.directories(), number)
        if target is not None:
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    @rule(number=seeds, mode=st.sampled_from([0o600, 0o644, 0o755, 0o777]))
    def chmod(self, number, mode):
        if target := self.pick(self.files() + self.directories(), number):
            target.chmod(mode)

    @rule(number=seeds, time=st.integers(10**18, 2 * 10**18))
    def touch(self, number, time):
        if target := self.pick(self.files(), number):
            os.utime(target, ns=(time, time))

    @rule(number=seeds)
    def hard_link(self, number):
        if target := self.pick(self.files(), number):
            other = self.root / f"link-{number % 3}"
            if other != target:
                other.unlink(missing_ok=True)
                os.link(target, other)

    @rule(host=st.sampled_from(["one", "two"]))
    def kill_agent(self, host):
        self.backend.connector.kill(host)

    @rule(host=st.sampled_from(["one", "two"]))
    def cut_link(self, host):
        channel = self.backend.connector.channels.get(host)
        if channel is not None:
            self.backend.call(channel.close())

    @rule()
    def replace_the_watched_file(self):
        self.turn += 1
        temporary = self.root / "watched.new"
        temporary.write_bytes(VERSIONS[self.turn % 3])
        temporary.rename(self.root / "watched")

    @rule()
    def breathe(self):
        self.backend.status()  # several turns of its event loop, and a query of each catalog

    @invariant()
    def a_reader_sees_a_whole_version(self):
        if not hasattr(self, "backend"):
            return
        for host in self.backend.hosts:
            try:
                seen = (self.backend.site(host) / "watched").read_bytes()
            except FileNotFoundError:
                continue  # not there yet
            assert seen in VERSIONS

    def teardown(self):
        if not hasattr(self, "backend"):
            return
        try:
            self.backend.wait_until_equal()
            leftovers = [
                p for p in self.directory.rglob(".replicator-*") if p.name != ".replicator"
            ]
            assert leftovers == []
        finally:
            self.backend.stop()
            shutil.rmtree(self.directory)


Replication.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # shrinking reruns whole daemons for minutes
    suppress_health_check=list(HealthCheck),
)
TestReplication = Replication.TestCase
