"""Comparisons: of whole trees, and of single directories on request."""

import asyncio

import pytest

from replicator.engine.control.status import describe_frontend
from replicator.engine.frontend import comparisons, resync
from replicator.model import FILE, Entry, Listed
from replicator.wire.changes import Move, SetAttributes
from replicator.wire.messages import Batch, Listing, ListTree, More
from tests.support.frontends import at
from tests.support.waiting import eventually


async def test_a_bootstrap_sends_what_differs_and_nothing_else(stage):
    stage.write(b"same", b"content")
    stage.write(b"missing", b"content!")
    record = stage.catalog.records[b"same"].entry
    stage.disks["a"] = {b"same": record._replace(digest=b""), b"extra": Entry(FILE, 0o644, 1, 1)}
    await stage.live()

    assert stage.disk.keys() == {b"same", b"missing"}
    assert stage.now.changes(b"same") == []
    assert stage.replica.converged
    assert (stage.replica.progress.files_done, stage.replica.progress.bytes_done) == (2, 8)
    assert stage.context.bootstrap_queue.inside == 0


@pytest.mark.parametrize("already_live", [False, True], ids=["bootstrap", "live"])
async def test_a_directory_that_is_renamed_behind_a_running_comparison_is_compared_under_its_new_name(
    stage, already_live
):
    """A directory of which the frontend lacks something goes from where the comparison has yet to come to where it was."""
    stage.source.mkdir(b"z")
    for path in (b"f", b"z/here", b"z/missing"):
        stage.write(path, b"content")
    stage.disks["a"] = {
        path: record.entry._replace(digest=b"")
        for path, record in stage.catalog.records.items()
        if path != b"z/missing" or already_live
    }
    if already_live:
        await stage.live()
        del stage.disk[b"z/missing"]
        stage.now.mute.add(ListTree)
        stage.replica.resync()
        await eventually(lambda: stage.listings() == 2, "another comparison")
    else:
        stage.prepare = lambda agent: agent.mute.add(ListTree)
        stage.start()
        await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    asked = stage.now.of(ListTree)[-1]
    listed = Listed(b"f", stage.disk[b"f"], 0, 0)
    stage.now.send(Listing(asked.job, (listed,), (), False))
    await eventually(
        lambda: More(asked.job, 1) in stage.now.of(More), "the first half to be compared"
    )

    stage.rename(b"z", b"a")
    assert not stage.replica.converged
    await eventually(lambda: b"a/here" in stage.disk, "the rename")
    stage.now.mute.clear()
    stage.now.send(Listing(asked.job, (), (), True))

    await eventually(lambda: b"a/missing" in stage.disk, "the missing file under the new name")
    await eventually(lambda: stage.replica.converged, "nothing more to do")
    assert [request.below for request in stage.now.of(ListTree)][-1] == b"a"
    assert stage.now.changes(b"a/here") == []


async def test_the_target_of_a_refused_rename_is_repaired_under_its_latest_name(stage):
    """Found by the soak: the answer came when the target's directory had another name already."""
    stage.source.mkdir(b"d")
    stage.write(b"f", b"content")
    await stage.live()
    stage.now.refusals[b"f"] = ("vanished", "its directory is not there")
    stage.now.mute.add(Batch)
    for source, target in ((b"f", b"d/f"), (b"d", b"e")):
        stage.rename(source, target)
    await eventually(lambda: stage.now.moves(b"d"), "both renames to be sent")
    stage.now.mute.clear()
    for message in [m for m in stage.now.of(Batch) if isinstance(m.changes[0], Move)]:
        stage.now.answer(message)

    await eventually(lambda: b"e/f" in stage.disk, "the file under its latest name")
    stage.now.refusals.clear()
    await eventually(lambda: stage.replica.converged, "nothing more to do")
    assert stage.disk.keys() == {b"e", b"e/f"}


async def test_a_resync_compares_one_directory_and_many_resyncs_compare_all_trees(stage):
    stage.source.mkdir(b"d")
    stage.write(b"d/f", b"content")
    await stage.live()
    stage.disk.pop(b"d/f")
    stage.replica.resync_queue.request(at(b"d"))
    await eventually(lambda: b"d/f" in stage.disk, "the missing file")
    assert [request.below for request in stage.now.of(ListTree)] == [b"", b"d"]
    assert stage.replica.full_comparisons == 1

    stage.now.mute.add(ListTree)
    for number in range(resync.MOST_DIRECTORIES + 1):
        stage.replica.resync_queue.request(at(b"%d" % number))
    stage.now.mute.clear()
    await eventually(lambda: stage.replica.full_comparisons == 2, "a comparison of all trees")
    assert [request.below for request in stage.now.of(ListTree)] == [b"", b"d", b""]


@pytest.mark.parametrize("unlisted", [b"d", b"d/e"])
async def test_a_resync_removes_nothing_below_a_source_directory_that_cannot_be_listed(
    stage, unlisted
):
    """What the source holds there is unknown."""
    for directory in (b"d", b"d/e"):
        stage.source.mkdir(directory)
        stage.catalog.put(directory, stage.source.nodes[directory].entry)
    await stage.live()
    known = stage.catalog.records[unlisted]
    stage.catalog.records[unlisted] = known._replace(problem="Permission denied")
    stage.disk[b"d/e/kept"] = Entry(FILE, 0o644, 1, 1)
    stage.replica.resync_queue.request(at(b"d/e"))
    await eventually(lambda: stage.listings() == 2, "the comparison")
    await eventually(lambda: stage.replica.converged, "its end")
    assert b"d/e/kept" in stage.disk


async def test_a_resync_of_a_file_compares_its_digest_without_a_listing(stage):
    stage.write(b"f", b"content")
    await stage.live()
    stage.replica.resync_queue.request(at(b"f"))
    await eventually(lambda: stage.replica.converged and stage.now.changes(b"f"), "the file")
    assert [request.below for request in stage.now.of(ListTree)] == [b""]
    assert type(stage.now.changes(b"f")[-1]) is SetAttributes


async def test_a_directory_in_the_place_of_a_refused_file_is_listed(stage):
    await stage.live()
    stage.now.refusals[b"f"] = ("not_empty", "holds one")
    stage.disk[b"f/x"] = Entry(FILE, 0o644, 1, 1)
    stage.replica.offer(stage.write(b"f", b"content"))
    await eventually(lambda: b"f/x" not in stage.disk, "the directory in its place to be removed")
    stage.now.refusals.clear()
    await eventually(lambda: stage.replica.converged, "the file")


async def test_nothing_is_reported_of_a_tree_that_is_removed_as_its_comparison_ends(
    stage, monkeypatch
):
    real, removed = comparisons.compare, []

    def remove():
        del stage.context.trees[1]
        stage.replica.remove_tree(1)
        removed.append(True)

    async def compare(*arguments):
        outcome = await real(*arguments)
        outcome.problems.append("d: cannot be listed: denied")
        asyncio.get_running_loop().call_soon(remove)  # runs before what waits for this task
        return outcome

    monkeypatch.setattr(comparisons, "compare", compare)
    stage.start()
    await eventually(lambda: removed, "the removal")
    await eventually(lambda: stage.context.bootstrap_queue.inside == 0, "the end of the comparison")
    assert stage.replica.errors.unlisted == []


async def test_surplus_whose_deletion_is_held_back_is_not_removed_by_a_comparison(stage):
    """The deletion guard deletes it once it has counted the deletions; a comparison must neither delete it earlier nor wait for it."""
    stage.tree.state.held.add(b"held")
    stage.disks["a"] = {path: Entry(FILE, 0o644, 1, 1) for path in (b"extra", b"held")}
    await stage.live()

    assert stage.disk.keys() == {b"held"}
    assert stage.replica.converged


async def test_a_confirmation_during_a_comparison_counts_for_the_next_one(stage):
    stage.write(b"ours", b"content")
    stage.tree.delete_guard = 0.5
    stage.disks["a"] = {b"%d" % number: Entry(FILE, 0o644, 1, 1) for number in range(200)}
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    stage.start()
    await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    stage.replica.surplus.confirm([1])
    stage.now.mute.clear()
    stage.now.list(stage.now.of(ListTree)[0])

    await eventually(lambda: stage.disk.keys() == {b"ours"}, "the surplus to be removed")
    await eventually(
        lambda: stage.replica.converged and not stage.replica.errors.surplus_kept, "nothing left"
    )


@pytest.fixture
def guarded(stage):
    """Removals above half of the tree need a confirmation; the tree has one file."""
    stage.write(b"ours", b"content")
    stage.tree.delete_guard = 0.5
    return stage


def surplus(stage, directory, many):
    """Put files into a directory of the frontend that the backend does not know."""
    disk = stage.disks.setdefault("a", {})
    disk |= {b"%s%d" % (directory, number): Entry(FILE, 0o644, 1, 1) for number in range(many)}


async def test_resyncs_of_directories_remove_no_more_surplus_than_one_of_the_whole_tree(guarded):
    stage = guarded
    await stage.live()
    for name in (b"a", b"b", b"c"):
        surplus(stage, name + b"/", 60)
        stage.replica.resync_queue.request(at(name))
        await eventually(lambda: not stage.replica.resync_queue, "the comparison of the directory")
    await eventually(lambda: stage.replica.errors.surplus_kept, "the surplus to be reported")

    def kept():
        return [path[:1] for path in stage.disk if path != b"ours"]

    await eventually(lambda: kept() == [b"b"] * 60 + [b"c"] * 60, kept)


async def test_a_resync_with_too_much_surplus_compares_the_whole_tree_for_status(guarded):
    stage = guarded
    await stage.live()
    surplus(stage, b"d/", 200)
    surplus(stage, b"e/", 100)
    stage.replica.resync_queue.request(at(b"d"))
    await eventually(lambda: stage.replica.errors.surplus_kept, "the surplus to be reported")
    assert "300 of 301" in stage.replica.errors.surplus_kept
    assert len(stage.disk) == 301
    listings = stage.listings()
    stage.replica.resync_queue.request(at(b"e"))
    await eventually(lambda: stage.listings() > listings, "the comparison of the directory")
    await eventually(lambda: not stage.replica.resync_queue, "its end")
    assert len(stage.disk) == 301


async def test_surplus_that_is_already_dirty_is_not_counted_again(guarded):
    stage = guarded
    surplus(stage, b"d/", 60)
    stage.prepare = lambda agent: agent.mute.add(Batch)
    stage.start()
    await eventually(lambda: len(stage.replica.dirty) > 60, "the surplus to be dirty")
    stage.prepare = lambda agent: None
    stage.now.hang_up()
    await stage.live()
    await eventually(lambda: stage.replica.converged, "the surplus to be removed")
    assert not stage.replica.errors.surplus_kept
    assert stage.disk.keys() == {b"ours"}


@pytest.mark.parametrize(("many", "goes"), [(300, False), (80, True)])
async def test_more_surplus_than_fits_in_memory_is_counted_before_any_is_removed(
    guarded, monkeypatch, many, goes
):
    monkeypatch.setattr("replicator.engine.frontend.compare.KEPT_IN_MEMORY", 50)
    stage = guarded
    surplus(stage, b"d/", many)
    stage.disks["a"][b"missing"] = Entry(FILE, 0o644, 1, 1)
    stage.write(b"missing", b"content")
    await stage.live()
    await eventually(lambda: not stage.replica.dirty, "the removals")
    assert bool(stage.replica.errors.surplus_kept) is not goes
    assert len(stage.disk) == (2 if goes else 302)
    assert stage.listings() == (2 if goes else 1)
    assert len(stage.now.changes(b"missing")) == 1


async def test_it_is_unknown_what_a_live_frontend_lacks_while_a_directory_must_be_compared(stage):
    stage.write(b"d/f", b"content")
    await stage.live()
    del stage.disk[b"d/f"]
    stage.now.mute.add(ListTree)
    before = stage.listings()
    stage.replica.resync_queue.request(at(b"d"))
    assert described(stage) == ("live", None, None)
    await eventually(lambda: stage.listings() > before, "the comparison")
    assert described(stage) == ("live", None, None)

    stage.now.mute.clear()
    stage.now.answer(stage.now.of(ListTree)[-1])
    await eventually(lambda: described(stage) == ("live", 0, 0.0), lambda: described(stage))
    assert b"d/f" in stage.disk


def described(stage):
    row = describe_frontend(stage.replica, halted=False)
    return row["state"], row["dirty"], row["lag_seconds"]
