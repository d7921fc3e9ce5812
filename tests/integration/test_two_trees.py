"""Two trees and two frontends, one of which fails: the others are served as if it did not exist."""

import asyncio
import itertools
import os
import shutil
import threading
from contextlib import suppress

import pytest

from replicator.app import App
from replicator.core.lifecycle import State
from replicator.engine.fleet.fleet import Fleet
from replicator.errors import ConfigError, ControlError
from replicator.source.tree import SourceTree
from tests.support.trees import Trees
from tests.support.waiting import FOREVER, eventually, turns


@pytest.fixture
async def trees(tmp_path):
    trees = Trees(tmp_path)
    trees.make("a", "b")
    yield trees
    if trees.app is not None:
        await trees.stop()


def tasks(name):
    """Return the tasks of the running loop whose names begin so."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(name)]


def is_open(directory):
    """Return True if this process holds a descriptor of a directory, so that its file system could not be unmounted."""
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
    return str(directory) in links


def root_of(source):
    root = source.duplicate_root()
    try:
        return os.readlink(f"/proc/self/fd/{root}")
    finally:
        os.close(root)


def live(trees, *hosts):
    found = [trees.replica(host) for host in hosts]
    return all(replica is not None and replica.state is State.LIVE for replica in found)


def ready(trees, *hosts):
    return live(trees, *hosts) and all(trees.replica(host).ready for host in hosts)


def pipeline(trees, name):
    pipelines = trees.app.service.pipelines.values()
    return next(p for p in pipelines if p.tree.root == os.fsencode(trees.source(name)))


@pytest.mark.parametrize("fault", ["missing", "empty", "no directory"])
async def test_a_tree_in_doubt_at_the_start_delays_no_other_and_is_served_when_it_is_back(
    trees, fault
):
    await trees.start(trees.config("a", "b", hosts=["one"]))
    await trees.arrived("a", "b", hosts=["one"])
    await trees.stop()

    trees.source("b").rename(trees.directory / "aside")
    if fault == "empty":
        trees.source("b").mkdir()
    elif fault == "no directory":
        trees.source("b").write_text("a file")
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a")
    trees.source("a").joinpath("live").write_text("new")
    await trees.arrived("a")
    await eventually(lambda: pipeline(trees, "b").halted, "the halt")
    assert trees.copy("one", "b") == {"f0": "b", "f1": "b", "f2": "b"}
    assert trees.copy("two", "b") == {}
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    status = await trees.status()
    assert {row["state"] for row in status["frontends"]} == {"halted"}
    assert [row["state"] for row in status["trees"]] == ["watching", "halted"]

    if fault == "empty":
        trees.source("b").rmdir()
    elif fault == "no directory":
        trees.source("b").unlink()
    (trees.directory / "aside").rename(trees.source("b"))
    trees.source("b").joinpath("f3").write_text("back")
    await trees.arrived("a", "b")
    await eventually(lambda: all(r.converged for r in trees.app.service.fleet), "calm")


async def test_a_tree_that_is_being_scanned_delays_no_other_nor_does_taking_it_out(
    trees, scan_of_b
):
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a")
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    trees.source("a").joinpath("live").write_text("new")
    await trees.arrived("a")
    assert not trees.copy("one", "b")
    assert not trees.replica("one").converged  # it lacks a whole tree

    reloading = asyncio.get_running_loop().create_task(trees.app.reload(trees.config("a")))
    await eventually(lambda: len(trees.app.service.pipelines) == 1, "the tree to be taken out")
    await eventually(lambda: trees.replica("one").converged, "nothing to wait for")
    scan_of_b.set()
    await reloading


async def test_a_tree_whose_scan_ends_is_compared_then(trees, scan_of_b):
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a")
    scan_of_b.set()
    await trees.arrived("a", "b")


@pytest.fixture
def scan_of_b(monkeypatch):
    """Hold the walk of the second source until this is set."""
    walk, may_go = SourceTree.walk, threading.Event()

    def held(source, below, *more, **options):
        if root_of(source).endswith("/b"):
            may_go.wait(60)
        return walk(source, below, *more, **options)

    monkeypatch.setattr(SourceTree, "walk", held)
    yield may_go
    may_go.set()


async def test_removing_a_halted_tree_lets_the_frontends_become_live(trees):
    shutil.rmtree(trees.source("b"))
    await trees.start(trees.config("b"))
    await eventually(lambda: pipeline(trees, "b").halted, "the halt")
    await trees.app.reload(trees.config("a"))
    await trees.arrived("a")
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    assert {row["state"] for row in (await trees.status())["frontends"]} == {"live"}


async def test_bootstrap_ends_with_the_reason_when_a_tree_halts(trees):
    shutil.rmtree(trees.source("b"))
    await trees.start(trees.config("a", "b"))
    with pytest.raises(ControlError, match="one: The source"):
        await trees.ask(command="bootstrap", host="one")
    await trees.arrived("a", hosts=["one"])


async def test_a_target_that_cannot_be_used_delays_no_other_tree_and_is_tried_again(trees):
    trees.fleet.root("one").mkdir()
    (trees.fleet.root("one") / "b").write_text("in the way")
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a")
    await trees.arrived("b", hosts=["two"])
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    assert "cannot be used" in trees.replica("one").last_error
    assert not trees.replica("one").converged
    errors = {row["host"]: row["error"] for row in await trees.ask(command="verify")}
    assert "cannot be used" in errors["one"]
    assert errors["two"] == ""
    trees.source("a").joinpath("live").write_text("new")
    trees.source("b").joinpath("live").write_text("new")
    await trees.arrived("a")

    (trees.fleet.root("one") / "b").unlink()
    await trees.arrived("a", "b")
    await eventually(lambda: trees.replica("one").converged, "calm")
    assert trees.replica("one").logins == 1


async def test_files_that_arrive_in_a_tree_while_it_is_added_disconnect_no_frontend(trees):
    await trees.start(trees.config("a"))
    await trees.arrived("a")
    for name in ("b", "c", "d"):
        trees.make(name, files=200)
        writing = asyncio.get_running_loop().create_task(_write(trees.source(name)))
        await trees.app.reload(trees.config("a", name))
        await writing
        await trees.arrived("a", name)
    assert [replica.logins for replica in trees.app.service.fleet] == [1, 1]


async def _write(directory):
    for number in range(200):
        directory.joinpath(f"live{number}").write_text("new")
        await turns(3)


async def test_nothing_of_a_tree_goes_to_a_connection_that_has_not_opened_it(trees, monkeypatch):
    """The bootstrap queue has no places, so that the second tree stays unopened while files arrive in it and the ready file is due."""
    await trees.start(trees.config({"name": "a", "ready_file": "ready"}))
    await eventually(lambda: ready(trees, "one", "two"), "the ready files")
    monkeypatch.setattr(Fleet, "trees_changed", lambda _self: None)
    await trees.app.reload(
        trees.config({"name": "a", "ready_file": "ready"}, {"name": "b", "ready_file": "ready"})
    )
    await eventually(pipeline(trees, "b").scanned.is_set, "the scan")
    trees.source("b").joinpath("live").write_text("new")
    trees.source("a").joinpath("live").write_text("new")
    await eventually(lambda: "live" in trees.copy("one", "a"), "the other tree's change")
    await eventually(lambda: not pipeline(trees, "b").pending, "the change to be published")
    assert [replica.logins for replica in trees.app.service.fleet] == [1, 1]
    assert not trees.copy("one", "b")
    assert not [key for key in trees.replica("one").dirty if key.tree == 2]

    monkeypatch.undo()
    trees.app.service.fleet.trees_changed()
    await eventually(lambda: "live" in trees.copy("one", "b"), "the second tree")
    await eventually(lambda: ready(trees, "one", "two"), "both ready files")


async def test_verify_compares_with_the_trees_that_are_replicated_now(trees):
    await trees.start(trees.config({"name": "a", "exclude": ["f0"]}))
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    await trees.app.reload(trees.config("a"))
    await trees.arrived("a")
    trees.source("a").joinpath("f1").write_text("newer")
    await trees.arrived("a")
    assert [row["differing"] for row in await trees.ask(command="verify")] == [0, 0]

    (trees.fleet.root("one") / "a" / "f0").write_text("x")
    repaired = await trees.ask(command="verify", repair=True)
    assert [row["differing"] for row in repaired] == [1, 0]
    await trees.arrived("a")


async def test_a_tree_that_is_taken_out_while_it_is_compared_gives_the_place_back(trees):
    trees.make("b", files=3000)
    await trees.start(trees.config("a", "b", bootstrap={"bandwidth": "1KiB/s"}))
    await eventually(lambda: trees.copy("one", "b"), "the filling to begin")
    await trees.app.reload(trees.config("a"))
    await trees.arrived("a")
    await eventually(lambda: live(trees, "one", "two"), "both to be live")
    for replica in trees.app.service.fleet:
        replica.resync()
    both = list(trees.app.service.fleet)
    await eventually(lambda: all(r.full_comparisons > 1 for r in both), "places for both")
    await eventually(lambda: not any(len(one.dirty) for one in both), "nothing to be dirty")


@pytest.mark.parametrize("pause", [0, 0.001, 0.01, 0.05, 0.3, 1.0])
async def test_of_many_reloads_the_last_one_counts_however_fast_they_come(trees, pause):
    trees.make("c", "d", files=30)
    await trees.start(trees.config("a"))
    await trees.arrived("a")
    rounds = [["b"], ["a", "b"], ["c"], ["a", "c", "d"], ["d"], ["a", "b", "c"], ["b", "d"], ["a"]]
    rounds = rounds if pause > 0.1 else 5 * rounds
    writing = asyncio.get_running_loop().create_task(_write(trees.source("a")))
    for names in [*rounds, ["b", "d"]]:
        changed = {"name": names[0], "exclude": [f"no{len(names)}"]}
        last = trees.config(changed, *names[1:])
        reloads = [trees.app.reload(trees.config(*names)), trees.app.reload(last)]
        await asyncio.gather(*reloads)
        await asyncio.sleep(pause)
    await writing
    await trees.arrived("b", "d")
    assert {row["source"][-2:] for row in (await trees.status())["trees"]} == {"/b", "/d"}
    await eventually(lambda: all(r.converged for r in trees.app.service.fleet), "calm")
    await eventually(lambda: not tasks("end of tree"), "the former trees to end")
    for name in "bd":
        trees.source(name).joinpath("last").write_text("new")
    await trees.arrived("b", "d")
    assert {r.logins for r in trees.app.service.fleet} == {1}


async def test_a_reload_does_not_wait_for_a_source_that_hangs(trees, scan_of_b):
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a")
    for names in (["a"], ["a", "b"], ["a"], ["a", "b"]):
        async with asyncio.timeout(30):
            await trees.app.reload(trees.config(*names))
    trees.source("a").joinpath("live").write_text("new")
    await trees.arrived("a")
    assert not trees.copy("one", "b")
    scan_of_b.set()
    await trees.arrived("a", "b")


async def test_a_reload_that_fails_changes_nothing(trees, monkeypatch):
    await trees.start(trees.config("a"))
    await trees.arrived("a")
    wrong = trees.config("b", state={"directory": str(trees.directory / "other")})
    with pytest.raises(ConfigError):
        await trees.app.reload(wrong)

    def fail(_app, _config):
        raise ConfigError("discovery", "cannot be used")

    monkeypatch.setattr(App, "set_discovery", fail)
    with pytest.raises(ConfigError):
        await trees.app.reload(trees.config("b", ssh={"user": "other"}))
    monkeypatch.undo()
    assert [row["source"][-2:] for row in (await trees.status())["trees"]] == ["/a"]
    trees.source("a").joinpath("live").write_text("new")
    await trees.arrived("a")


async def test_the_source_of_a_removed_tree_is_closed_when_nothing_reads_it_any_more(
    trees, monkeypatch
):
    read, may_go, reading = SourceTree.read_whole, threading.Event(), threading.Event()
    still_open = []

    def held(source, wanted):
        reading.set()
        may_go.wait(FOREVER)
        still_open.append(is_open(trees.source("b")))
        return read(source, wanted)

    monkeypatch.setattr(SourceTree, "read_whole", held)
    await trees.start(trees.config("b"))
    await eventually(reading.is_set, "a reader")
    await trees.app.reload(trees.config("a"))
    await eventually(lambda: not tasks("ingest 1"), "the end of the pipeline")
    await turns(10)
    assert is_open(trees.source("b"))
    may_go.set()
    await eventually(lambda: not is_open(trees.source("b")), "the source to be closed")
    assert all(still_open)
    await trees.arrived("a")
    assert {r.logins for r in trees.app.service.fleet} == {1}


async def test_resume_of_one_tree_confirms_nothing_of_another(trees):
    trees.make("b", files=1)
    guarded = [{"name": name, "delete_guard": 0.5} for name in ("a", "b")]
    await trees.start(trees.config(*guarded))
    await trees.arrived("a", "b")
    trees.source("a").rename(trees.directory / "aside")
    await eventually(lambda: pipeline(trees, "a").halted, "the halt")

    for number in range(300):
        (trees.fleet.root("one") / "b" / f"extra{number}").write_text("of somebody")
    (row,) = await trees.ask(command="resume")
    assert row["what"].endswith("/a")
    trees.replica("one").resync()
    await eventually(lambda: trees.replica("one").errors.surplus_kept, "the question")
    assert len(trees.copy("one", "b")) > 300
    (trees.directory / "aside").rename(trees.source("a"))


def asks(trees, host):
    """The trees of which a frontend has extra files that are kept until `resume`."""
    numbers = trees.replica(host).errors.trees_with_surplus
    roots = [os.fsdecode(trees.app.service.pipelines[number].tree.root) for number in numbers]
    return {root.rpartition("/")[2] for root in roots}


async def test_resume_by_name_confirms_one_frontend_or_one_tree_and_nothing_else(trees):
    trees.make("b")
    guarded = [{"name": name, "delete_guard": 0.5} for name in ("a", "b")]
    await trees.start(trees.config(*guarded))
    await trees.arrived("a", "b")
    for host, name, number in itertools.product(("one", "two"), ("a", "b"), range(300)):
        (trees.fleet.root(host) / name / f"extra{number}").write_text("of somebody")
    for host in ("one", "two"):
        trees.replica(host).resync()
    await eventually(
        lambda: asks(trees, "one") == asks(trees, "two") == {"a", "b"}, "the questions"
    )

    rows = await trees.ask(command="resume", name="one", host="one")
    assert [row["what"] for row in rows] == ["one"]
    await eventually(lambda: not asks(trees, "one"), lambda: asks(trees, "one"))
    await eventually(lambda: len(trees.copy("one", "b")) == 3, "the deletions")
    assert asks(trees, "two") == {"a", "b"}

    rows = await trees.ask(command="resume", name="b")
    assert [row["what"] for row in rows] == ["two"]
    await eventually(lambda: asks(trees, "two") == {"a"}, lambda: asks(trees, "two"))
    await eventually(lambda: len(trees.copy("two", "b")) == 3, "the deletions")
    assert len(trees.copy("two", "a")) > 300

    assert await trees.ask(command="resume", name="b") == []
    assert len(await trees.ask(command="resume")) == 1
    await eventually(lambda: not asks(trees, "two"), lambda: asks(trees, "two"))


async def test_resume_of_a_tree_leaves_another_source_in_doubt(trees):
    trees.make("b")
    await trees.start(trees.config("a", "b"))
    await trees.arrived("a", "b")
    for name in ("a", "b"):
        trees.source(name).rename(trees.directory / f"{name}-aside")
    await eventually(
        lambda: pipeline(trees, "a").halted and pipeline(trees, "b").halted, "the halts"
    )
    (row,) = await trees.ask(command="resume", name="a")
    assert row["what"].endswith("/a")
    assert await trees.ask(command="resume", name="one", host="one") == []
    for name in ("a", "b"):
        (trees.directory / f"{name}-aside").rename(trees.source(name))


async def test_status_answers_while_all_that_reads_for_frontends_hangs(trees):
    may_go = threading.Event()
    trees.make("c", "d")
    await trees.start(trees.config("a", "b", "c", "d"))
    hung = [asyncio.get_running_loop().run_in_executor(trees.app._pool, may_go.wait) for _ in "123"]
    async with asyncio.timeout(30):
        assert len((await trees.status())["trees"]) == 4
    may_go.set()
    await asyncio.gather(*hung)
