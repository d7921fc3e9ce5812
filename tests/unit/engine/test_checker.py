"""Checker, with a real directory and a real catalog: which updates and deletions a check returns."""

import errno
import os
import shutil

import pytest

from replicator.catalog.store import CatalogStore
from replicator.engine.ingest.scan_result import ScanResult
from replicator.errors import SourceError
from replicator.model import DIRECTORY, FILE, SYMLINK
from tests.support.world import World


def test_an_unchanged_file_is_not_read(world):
    world.write("a")
    world.record()
    read = world.source.bytes_read

    assert world.scan()[:2] == ({}, [])
    assert world.check(b"a")[:2] == ({}, [])
    assert world.source.bytes_read == read


def test_a_missing_directory_is_deleted_children_first(world):
    world.write("d/e/f")
    world.write("d/g")
    world.record()
    shutil.rmtree(world.root / "d")
    _, gone, _ = world.check(b"d")

    assert gone == [b"d/g", b"d/e/f", b"d/e", b"d"]
    assert world.catalog.counts()[0] == 0


@pytest.mark.parametrize("to", ["file", "symlink"])
def test_a_directory_that_is_replaced_by_another_kind_loses_its_children(world, to):
    world.write("d/f")
    world.record()
    shutil.rmtree(world.root / "d")
    if to == "file":
        world.write("d")
    else:
        (world.root / "d").symlink_to("elsewhere")
    updates, gone, _ = world.check(b"d")

    assert gone == [b"d/f"]
    assert set(updates) == {b"d"}


@pytest.mark.parametrize("was", ["symlink", "file", "nothing"])
@pytest.mark.parametrize("to", ["symlink", "file", "nothing"])
def test_paths_below_a_name_that_was_briefly_a_directory_are_deleted(world, was, to):
    """A name flips: at its own check it is no directory, at that of a file below it is one, and then it is none again."""
    at = world.root / "d"

    def become(kind):
        shutil.rmtree(at) if at.is_dir() and not at.is_symlink() else at.unlink(missing_ok=True)
        at.symlink_to("elsewhere") if kind == "symlink" else kind == "file" and world.write("d")

    become(was)
    world.record()
    world.checker.defers = True
    real_stat = world.source.stat

    def flips_after_the_first(path):
        seen = real_stat(path)
        become("nothing")
        world.write("d/f")
        return seen

    world.source.stat = flips_after_the_first
    world.check(b"d", b"d/f")
    assert b"d/f" in world.catalog.get([b"d/f"])  # or this would show nothing
    world.source.stat = real_stat
    become(to)
    _, gone, found = world.check(b"d")
    missing = [path for one in found for path in one.missing]
    gone += next(world.checker.writer.remove(missing)).gone  # it was accepted

    assert [path for path in gone if path != b"d"] == [b"d/f"]
    assert world.catalog.below(b"d") == []
    assert (b"d" in world.catalog.get([b"d"])) is (to != "nothing")


@pytest.mark.parametrize("to", ["nothing", "file"])
def test_other_names_of_files_in_a_deleted_directory_are_checked(world, to):
    path = world.write("d/f")
    os.link(path, world.root / "twin")
    os.link(world.write("d/g"), world.root / "d/g2")
    world.record()
    path.write_bytes(b"written under the name that goes")
    shutil.rmtree(world.root / "d")
    if to == "file":
        world.write("d")
    _, _, found = world.check(b"d")

    assert {name for one in found for name in one.siblings} == {b"twin"}


def test_a_path_that_exists_again_before_its_check_is_not_deleted(world):
    world.write("d/f")
    world.record()
    shutil.rmtree(world.root / "d")
    real_stat = world.source.stat

    def back_after_the_first(path):
        seen = real_stat(path)
        world.write("d/f")
        return seen

    world.source.stat = back_after_the_first
    updates, gone, _ = world.check(b"d", b"d/f")

    assert (list(updates), gone) == ([b"d/f"], [])
    assert world.catalog.get([b"d", b"d/f"]).keys() == {b"d", b"d/f"}


def test_a_new_path_is_preceded_by_its_unrecorded_parents(world):
    world.record()
    world.write("d/e/f")
    updates, _, _ = world.check(b"d/e/f")

    assert list(updates) == [b"d", b"d/e", b"d/e/f"]
    world.write("d/g/h")
    assert list(world.scan(b"d/g")[0]) == [b"d/g", b"d/g/h"]


@pytest.mark.parametrize("asked", [[b"d/f"], [b"d", b"d/f"]])
def test_a_parent_that_is_not_recorded_as_a_directory_is_checked_once(world, asked):
    (world.root / "d").symlink_to("elsewhere")
    world.record()
    (world.root / "d").unlink()
    world.write("d/f")
    updates, _, found = world.check(*asked)

    assert [(u.record.path, u.record.entry.kind) for one in found for u in one.updates] == [
        (b"d", DIRECTORY),
        (b"d/f", FILE),
    ]
    assert updates[b"d"].before.entry.kind == SYMLINK


def test_nothing_is_deleted_while_the_root_is_in_doubt(world):
    world.write("a")
    world.record()
    world.root.rename(world.root.with_name("away"))

    with pytest.raises(SourceError):
        world.check(b"a", b"")
    assert world.catalog.get([b"a"])


def test_a_newly_excluded_path_is_forgotten_and_not_deleted(world, tmp_path):
    world.write("cache/a")
    world.write("b")
    world.record()
    world.close()
    again = World(tmp_path, exclude=["cache/"])
    try:
        updates, gone, found = again.scan()

        assert (updates, gone) == ({}, [])
        assert {path for one in found for path in one.forgotten} == {b"cache", b"cache/a"}
    finally:
        again.close()
        world.source._fd = os.open(world.root, os.O_RDONLY)
        world.store = CatalogStore.open(tmp_path / "catalog.sqlite")


def test_a_directory_with_a_new_entry_is_not_forgotten(world):
    world.write("cache/a")
    world.record()
    record = world.catalog.get([b"cache/a"])[b"cache/a"]
    findings = ScanResult(records=[record], forgotten=[b"cache"])
    world.checker.writer.store(findings)

    assert findings.forgotten == []
    assert world.catalog.get([b"cache", b"cache/a"]).keys() == {b"cache", b"cache/a"}


def test_paths_below_a_missing_unrecorded_directory_are_deleted_and_their_other_names_checked(
    world,
):
    path = world.write("d/f")
    os.link(path, world.root / "twin")
    world.record()
    world.catalog.apply([], [b"d"], {})
    shutil.rmtree(world.root / "d")
    _, gone, found = world.check(b"d")

    assert gone == [b"d/f"]
    assert {name for one in found for name in one.siblings} == {b"twin"}


def test_a_missing_path_is_deleted_only_by_remove(world):
    world.write("d/f")
    world.record()
    shutil.rmtree(world.root / "d")
    world.checker.defers = True
    _, gone, found = world.check(b"d", b"d/f")
    assert gone == []
    assert [one.missing for one in found] == [[b"d"]], "what is below is missing with it"
    assert world.catalog.get([b"d", b"d/f"]).keys() == {b"d", b"d/f"}

    assert next(world.checker.writer.remove([b"d"])).gone == [b"d/f", b"d"]
    assert world.catalog.counts()[0] == 0


def test_a_root_that_an_earlier_check_found_in_doubt_halts_the_tree(world):
    world.write("a")
    world.record()
    world.source.set_doubt("it was away for a moment")
    with pytest.raises(SourceError, match="away for a moment"):
        world.check(b"")


def test_a_new_name_whose_stat_fails_is_checked_again(world, monkeypatch):
    world.write("new")

    def fail(_path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(world.source, "stat", fail)
    findings = ScanResult()
    world.checker.check_path(b"new", None, findings)
    assert findings.unsettled == [b"new"]
