"""Applies renames inside a tree: the catalog gives the records of the old name to the new one."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.contents import NO_STAMP, is_ambiguous
from replicator.engine.ingest.encode_result import encode_move
from replicator.engine.ingest.followups import FollowUps
from replicator.engine.ingest.publisher import Publisher
from replicator.engine.ingest.records import other_names
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.engine.ingest.source_guard import SourceGuard
from replicator.engine.tree import Tree
from replicator.model import (
    DIRECTORY,
    FILE,
    MAX_DEPTH,
    MAX_PATH,
    SYMLINK,
    admits,
    key,
    last_below,
    rebase,
)
from replicator.ports import Catalog, Record, Seen

PAGE = 1000


def is_recorded(catalog: Catalog, path: bytes) -> bool:
    """Return True if the catalog has a record of a path."""
    return path in catalog.get([path])


def may_move(catalog: Catalog, policy: str, source: bytes, target: bytes) -> bool:
    """Return True if the policy admits all symlinks at and below `source` also at their new paths.

    Relative symlinks may lead out of the tree from a new path; but not from a path of the same depth or a greater one.
    """
    if policy != "inside" or target.count(b"/") >= source.count(b"/"):
        return True
    records = list(catalog.get([source]).values())
    after, last = source, last_below(source)
    while True:
        for path, entry in ((record.path, record.entry) for record in records):
            moved = rebase(path, source, target)
            if entry.kind == SYMLINK and not admits(policy, moved, entry.link):
                return False
        records = catalog.scan(after, last, PAGE)
        if not records or key(after) >= key(records[-1].path):
            return True
        after = records[-1].path


def fits(catalog: Catalog, source: bytes, target: bytes) -> bool:
    """Return True if `source` is recorded, and all paths below it are within the limits of length and depth as `target`."""
    if source not in catalog.get([source]):
        return False
    longer, deeper = len(target) - len(source), target.count(b"/") - source.count(b"/")
    if longer <= 0 and deeper <= 0:
        return True
    return all(
        len(path) + longer <= MAX_PATH and path.count(b"/") + deeper < MAX_DEPTH
        for path in [source, *catalog.below(source)]
    )


class Renamer:
    """Applies the renames of one tree.

    Args:
        tree: the tree.
        publisher: publishes the renames.
        checker: reads the source, and updates the catalog.
        follow_ups: schedules further checks.
        guard: records which file systems are mounted below the root.
    """

    def __init__(
        self,
        tree: Tree,
        publisher: Publisher,
        checker: Checker,
        follow_ups: FollowUps,
        guard: SourceGuard,
    ) -> None:
        self._tree = tree
        self._publisher = publisher
        self._checker = checker
        self._follow_ups = follow_ups
        self._guard = guard

    async def apply(self, source: bytes, target: bytes) -> None:
        """Rename in the catalog, and publish it. With `delete` off the frontends keep the old name, so a directory is sent anew.

        Raises:
            SourceError: the source is in doubt.
        """
        tree, publisher = self._tree, self._publisher
        deletions, in_thread = publisher.deletions, publisher.in_thread
        await in_thread(tree.catalog.renaming.acquire)
        try:
            may = deletions.allowed and await in_thread(
                partial(may_move, tree.catalog, tree.symlinks, source, target)
            )
            result = await in_thread(
                partial(record_rename, self._checker, source, target, may_move_directory=may)
            )
            if result.moved:
                await publisher.publish([encode_move(tree.number, source, target)])
                deletions.renamed(source, target)
                await self._follow_ups.renamed(source, target)
                await in_thread(partial(self._guard.renamed, source, target))
        finally:
            tree.catalog.renaming.release()
        if result.found is not None:
            await self._follow_ups.check_soon(result.found.siblings)
            encode = partial(publisher.encode, result.found)
            await publisher.publish(await in_thread(encode))


class RenameResult(NamedTuple):
    """What the catalog records of a rename.

    Attributes:
        moved: the catalog has the directory, and all below it, by its new name.
        found: what to publish of a file.
    """

    moved: bool = False
    found: ScanResult | None = None


def record_rename(
    checker: Checker, source: bytes, target: bytes, *, may_move_directory: bool
) -> RenameResult:
    """Record a renamed file or directory by its new name, as far as it is certain what was renamed. Later checks find the rest.

    Runs in a worker thread.

    The old name of a file stays recorded until its deletion is confirmed, because it may exist again. A directory is moved only if
    its old name is missing and its new one was not recorded, so that no name that exists is deleted on frontends.

    Raises:
        SourceError: the root is in doubt; nothing was done.
    """
    catalog = checker.catalog
    records = catalog.get([source, target])
    origin, replaced = records.get(source), records.get(target)
    seen = _stat(checker, target)
    if origin is None or seen is None or not _is_same_file(origin, seen):
        return RenameResult()
    if origin.entry.kind == FILE:
        return RenameResult(found=_link(checker, origin, replaced, target))
    if origin.entry.kind != DIRECTORY or not may_move_directory or replaced is not None:
        return RenameResult()
    if _stat(checker, source) is not None or not fits(catalog, source, target):
        return RenameResult()
    checker.source.check_root()
    catalog.move(source, target)
    return RenameResult(moved=True)


def _stat(checker: Checker, path: bytes) -> Seen | None:
    try:
        return checker.source.stat(path)
    except OSError:
        return None


def _is_same_file(origin: Record, seen: Seen) -> bool:
    """Return True if the recorded file or directory was found, as far as a rename leaves its stamp unchanged."""
    was, now = origin.stamp, seen.stamp
    alike = (was.inode, was.mtime_ns, was.size) == (now.inode, now.mtime_ns, now.size)
    same_inode = was.inode == now.inode and origin.entry.kind == seen.entry.kind
    return same_inode and (alike or origin.entry.kind == DIRECTORY)


def _link(
    checker: Checker, origin: Record, replaced: Record | None, target: bytes
) -> ScanResult | None:
    """Record a renamed file by its new name, in addition to its old one."""
    if origin.problem or not origin.entry.digest:
        return None
    if replaced is not None and (
        replaced.entry.kind == DIRECTORY or replaced.entry == origin.entry
    ):
        return None
    ambiguous = replaced is not None and is_ambiguous(replaced, origin.entry)
    taken = origin._replace(path=target, stable=False, ambiguous=ambiguous)
    same_content_as = b"" if origin.ambiguous else origin.path
    # The old name has no file any more. Without a stamp, the record does not match the file that was renamed.
    left = origin._replace(stamp=NO_STAMP, stable=False)
    found = ScanResult(
        updates=[Update(taken, replaced, same_content_as=same_content_as)], records=[left]
    )
    found.signatures[target] = checker.catalog.signature(origin.path)
    if replaced is not None and replaced.entry.kind == FILE:
        found.siblings += other_names(checker.catalog, target, replaced.stamp.inode)
    return checker.writer.store(found)
