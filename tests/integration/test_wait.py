"""`wait`: when it confirms, everything that was changed before the call is on every frontend that serves visitors."""

import os
import random
import shutil
import threading

import pytest

from replicator.errors import ControlError, ReplicatorError
from tests.support.backend import Backend, LocalFleet, SlowFleet
from tests.support.waiting import FOREVER, wait_for

ROUNDS = 200


def outcome(backend, areas=(), timeout=30, **more):
    return backend.ask(command="wait", areas=[*map(list, areas)], timeout=timeout, **more)[-1]


class Waiting:
    """A call of `wait` that has not ended, and has already reported that it waits."""

    def __init__(self, backend):
        self._lines = []
        self._ended = backend.begin(self._collect(backend))
        wait_for(lambda: self._lines, backend.explain_status)
        assert not self._ended.done()

    async def _collect(self, backend):
        async for line in backend.app.requests.handle({"command": "wait", "timeout": 30}):
            self._lines.append(line)

    def outcome(self):
        self._ended.result(FOREVER)
        return self._lines[-1]


def blockers(answer):
    return {one["who"]: one["why"] for one in answer["waits_for"]}


@pytest.fixture
def two_trees(tmp_path):
    """Two trees, two frontends of which one is slow."""
    (tmp_path / "more").mkdir()
    connector = HalfSlow(tmp_path)
    trees = [
        {"source": str(tmp_path / "source"), "target": "/site"},
        {"source": str(tmp_path / "more"), "target": "/more"},
    ]
    with Backend(tmp_path, connector=connector, trees=trees) as backend:
        wait_for(backend.quiet, backend.explain_status)
        yield backend


class HalfSlow(LocalFleet):
    """The host `two` takes 20 ms for each write of content."""

    def __init__(self, directory):
        super().__init__(directory)
        self._slow = SlowFleet(directory, 0.02, 10.0)

    async def connect(self, address, identity=""):
        if address.host == "two" and "two" not in self.refused:
            self.channels["two"] = channel = await self._slow.connect(address, identity)
            return channel
        return await super().connect(address, identity)


class Site:
    """Random changes of a source, and what must then be on each frontend."""

    def __init__(self, root, copies, seed):
        self.root = root
        self.copies = copies
        self.random = random.Random(seed)
        self.names = [
            f"{directory}f{number}" for directory in ("", "d/", "d/e/") for number in range(6)
        ]

    def change(self):
        """Make one random change."""
        name = self.root / self.random.choice(self.names)
        kind = self.random.choices(
            ("write", "replace", "remove", "link", "move", "tree"), (8, 8, 2, 2, 1, 1)
        )[0]
        getattr(self, f"_{kind}")(name)

    def _write(self, name):
        name.parent.mkdir(parents=True, exist_ok=True)
        if name.is_symlink():
            name.unlink()
        name.write_bytes(self.random.randbytes(self.random.choice((10, 5000, 300_000))))

    def _replace(self, name):
        name.parent.mkdir(parents=True, exist_ok=True)
        other = name.with_name("new-" + name.name)
        other.write_bytes(self.random.randbytes(1000))
        other.rename(name)

    def _remove(self, name):
        name.unlink(missing_ok=True)

    def _link(self, name):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.unlink(missing_ok=True)
        name.symlink_to(f"target-{self.random.random()}")

    def _move(self, _):
        if (self.root / "d").exists():
            (self.root / "d").rename(self.root / "moved")
            (self.root / "moved").rename(self.root / "d")

    def _tree(self, _):
        if (self.root / "d" / "e").exists():
            shutil.rmtree(self.root / "d" / "e")

    def content(self, root):
        found = {}
        for directory, names, files in os.walk(root):
            for name in names + files:
                path = os.path.join(directory, name)
                shown = os.path.relpath(path, root)
                if os.path.islink(path):
                    found[shown] = os.readlink(path)
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[shown] = file.read()
                else:
                    found[shown] = None
        return found

    def missing(self):
        """Return what differs, by copy."""
        wanted = self.content(self.root)
        differing = {}
        for copy in self.copies:
            found = self.content(copy)
            paths = {
                p for p in wanted.keys() | found.keys() if wanted.get(p, "") != found.get(p, "")
            }
            if paths:
                differing[str(copy)] = sorted(paths)
        return differing


def sites(backend, tmp_path, seed):
    fleet = [backend.connector.root(host) for host in ("one", "two")]
    return [
        Site(tmp_path / "source", [root / "site" for root in fleet], seed),
        Site(tmp_path / "more", [root / "more" for root in fleet], seed + 1),
    ]


def test_what_was_changed_before_a_wait_is_on_every_frontend_after_it(two_trees, tmp_path):
    both = sites(two_trees, tmp_path, 1)
    for number in range(ROUNDS):
        for _ in range(both[0].random.choice((1, 1, 3, 10))):
            both[0].random.choice(both).change()
        answer = outcome(two_trees)
        assert answer["ok"], (number, answer)
        assert answer["frontends"] == ["one", "two"]
        assert [site.missing() for site in both] == [{}, {}], number


def test_one_path_is_confirmed_while_the_rest_keeps_changing(two_trees, tmp_path):
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.wait(0.005):
            number += 1
            (tmp_path / "source" / "hot").write_text(str(number))
            (tmp_path / "source" / f"passing-{number % 7}").write_text("x")
            (tmp_path / "source" / f"passing-{(number + 3) % 7}").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(40):
            path = tmp_path / "source" / "release"
            path.write_text(str(number))
            answer = outcome(two_trees, [(str(tmp_path / "source"), "release")])
            assert answer["ok"], answer
            for host in ("one", "two"):
                assert (two_trees.site(host) / "release").read_text() == str(number)
        for number in range(5):  # the whole tree: later changes are not waited for
            (tmp_path / "source" / "other").write_text(str(number))
            answer = outcome(two_trees)
            assert answer["ok"], answer
            assert (two_trees.site("two") / "other").read_text() == str(number)
    finally:
        stop.set()
        thread.join()


def test_a_symlink_that_waits_for_the_files_that_it_leads_to_is_waited_for(tmp_path):
    with Backend(tmp_path) as backend:
        link = backend.source / "current"
        link.symlink_to("release-0")
        backend.wait_until_equal()
        for number in range(1, 6):
            release = backend.source / f"release-{number}"
            release.mkdir()
            for name in range(1500):
                (release / str(name)).write_text(str(number))
            (backend.source / "next").symlink_to(release.name)
            (backend.source / "next").rename(link)
            answer = outcome(backend, [(str(backend.source), "current")])
            assert answer["ok"], answer
            links = [os.readlink(backend.site(host) / "current") for host in backend.hosts]
            assert links == [release.name] * 2


def test_a_serving_frontend_that_is_away_is_waited_for_and_named(two_trees, tmp_path):
    two_trees.connector.refused.add("two")
    two_trees.connector.kill("two")
    (tmp_path / "more" / "f").write_text("f")
    answer = outcome(two_trees, timeout=1)
    assert not answer["ok"]
    assert set(blockers(answer)) == {"two"}
    assert "not connected" in blockers(answer)["two"]
    assert outcome(two_trees, timeout=10, host="one")["ok"]
    assert (two_trees.connector.root("one") / "more" / "f").read_text() == "f"
    threading.Timer(0.5, two_trees.connector.refused.clear).start()
    assert outcome(two_trees)["ok"]
    assert (two_trees.connector.root("two") / "more" / "f").read_text() == "f"


def test_a_file_that_is_being_written_is_named(tmp_path):
    with Backend(tmp_path, settle={"cooldown": 0.05, "max_wait": 60.0}) as backend:
        backend.wait_until_equal()
        with (backend.source / "upload").open("wb") as file:
            file.write(b"half")
            file.flush()
            answer = outcome(backend, timeout=1)
            assert blockers(answer) == {str(backend.source): "upload is being written"}
            assert outcome(backend, [(str(backend.source), "another")])["ok"]
        assert outcome(backend)["ok"]
        assert (backend.site("two") / "upload").read_bytes() == b"half"


def test_deletions_that_are_held_are_not_confirmed(tmp_path):
    for number in range(300):
        path = tmp_path / "source" / "d" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        shutil.rmtree(backend.source / "d")
        answer = outcome(backend)
        assert not answer["ok"]
        assert "replicator resume" in blockers(answer)[str(backend.source)]
        backend.ask(command="resume")
        assert outcome(backend)["ok"]
        assert not (backend.site("one") / "d").exists()
        assert not (backend.site("two") / "d").exists()


def test_a_source_in_doubt_is_not_confirmed(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_text("f")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        (tmp_path / "source").rename(tmp_path / "away")
        wait_for(lambda: backend.status()["trees"][0]["state"] == "halted", backend.explain_status)
        answer = outcome(backend)
        assert not answer["ok"]
        assert answer["seconds"] < 5
        (tmp_path / "away").rename(tmp_path / "source")
        wait_for(
            lambda: backend.status()["trees"][0]["state"] == "watching", backend.explain_status
        )
        assert outcome(backend)["ok"]


def test_a_file_that_cannot_be_read_is_named_after_all_else_was_confirmed(tmp_path):
    with Backend(tmp_path, tree={"max_file_size": "1KiB"}) as backend:
        backend.wait_until_equal()
        (backend.source / "large").write_bytes(b"x" * 2000)
        (backend.source / "f").write_text("f")
        answer = outcome(backend)
        assert blockers(answer) == {str(backend.source): "large cannot be read"}
        assert (backend.site("two") / "f").read_text() == "f"
        assert outcome(backend, [(str(backend.source), "f")])["ok"]


def test_the_first_scan_and_fill_are_waited_for_if_no_frontend_serves_yet(tmp_path):
    for number in range(2000):
        path = tmp_path / "source" / str(number % 20) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000))
    with Backend(tmp_path) as backend:
        answer = outcome(backend)
        assert answer["ok"]
        # The first that is live serves visitors: then the other is not waited for any more.
        assert answer["frontends"]
        assert not backend.differences().keys() & set(answer["frontends"])
        backend.wait_until_equal()
    # After a restart the frontends serve visitors already.
    (tmp_path / "source" / "new").write_text("new")
    with Backend(tmp_path) as backend:
        answer = outcome(backend)
        assert (answer["ok"], answer["frontends"]) == (True, ["one", "two"])
        assert backend.differences() == {}


def test_a_frontend_that_is_filled_is_waited_for_only_if_it_is_named(tmp_path):
    (tmp_path / "source").mkdir()
    with Backend(tmp_path, hosts=["one"], bootstrap={"bandwidth": "100KiB/s"}) as backend:
        backend.wait_until_equal()
        (backend.source / "large").write_bytes(os.urandom(300_000))
        assert outcome(backend)["ok"]
        backend.serve("one", "two")
        wait_for(
            lambda: _state(backend, "two") in ("queued", "bootstrapping"), backend.explain_status
        )
        answer = outcome(backend)
        assert (answer["ok"], answer["not_serving"]) == (True, ["two"])
        answer = outcome(backend, timeout=0.2, host="two")
        assert "being compared" in blockers(answer)["two"]
        assert outcome(backend, host="two")["ok"]
        assert (backend.site("two") / "large").stat().st_size == 300_000


def _state(backend, host):
    return next((r["state"] for r in backend.status()["frontends"] if r["host"] == host), "")


def test_a_frontend_that_leaves_is_no_longer_waited_for_and_is_reported(two_trees, tmp_path):
    two_trees.connector.refused.add("two")
    two_trees.connector.kill("two")
    (tmp_path / "source" / "f").write_text("f")
    waiting = Waiting(two_trees)
    two_trees.serve("one")
    answer = waiting.outcome()
    assert answer["ok"]
    assert answer["left"] == ["two"]


def test_a_tree_whose_settings_are_reloaded_is_waited_for_again(tmp_path):
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        backend.connector.refused.add("two")
        backend.connector.kill("two")
        (backend.source / "f").write_text("f")
        waiting = Waiting(backend)
        from replicator.config import parse

        raw = {
            "tree": [{"source": str(backend.source), "target": "/other"}],
            "discovery": {"frontends": backend.hosts},
            "state": {"directory": str(tmp_path / "state")},
        }
        backend.call(backend.app.reload(parse(raw, base=tmp_path)))
        backend.connector.refused.clear()
        answer = waiting.outcome()
        assert answer["ok"], answer
        for host in backend.hosts:
            assert (backend.connector.root(host) / "other" / "f").read_text() == "f"


def test_what_is_not_replicated_is_an_error(tmp_path):
    with Backend(tmp_path, tree={"exclude": ["/cache/*"]}) as backend:
        source = str(backend.source)
        for area in [("/elsewhere", ""), (source, "cache/f"), (source, "../etc")]:
            with pytest.raises(ReplicatorError):
                outcome(backend, [area])
        with pytest.raises(ControlError):
            outcome(backend, host="unknown")


def test_a_named_path_that_exists_and_is_left_out_is_not_confirmed(tmp_path):
    with Backend(tmp_path, tree={"symlinks": "inside", "exclude": ["cache/"]}) as backend:
        backend.wait_until_equal()
        (backend.source / "out").symlink_to("/etc")
        os.mkfifo(backend.source / "pipe")
        (backend.source / "cache").mkdir()
        (backend.source / "in").symlink_to("f")
        for name in ("out", "pipe", "cache"):
            answer = outcome(backend, [(str(backend.source), name)])
            assert not answer["ok"]
            assert name in blockers(answer)[str(backend.source)]
        assert outcome(backend, [(str(backend.source), "in")])["ok"]
        assert os.readlink(backend.site("two") / "in") == "f"
