"""The part of a restore that needs no content: directories, symlinks and empty files; and the attributes of directories at the end."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Iterable

from replicator.agent.refusals import Refused
from replicator.agent.restore.additions import ACCESS, Additions, Taken
from replicator.agent.restore.tally import Tally
from replicator.errors import PathRefused, ReplicatorError
from replicator.files.confined import Confined
from replicator.model import DIRECTORY, SYMLINK, is_temporary, join, too_deep
from replicator.wire.changes import MakeDirectory, MakeSymlink, PutFile
from replicator.wire.manifest import Named


class Names:
    """Creates the names of a manifest that have no content.

    Args:
        store: creates them.
        tally: counts them.
    """

    def __init__(self, store: Additions, tally: Tally) -> None:
        self._store = store
        self._tally = tally
        self._kept: dict[bytes, tuple[int, int]] = {}

    def add(self, rows: Iterable[Named]) -> None:
        """Create what does not exist.

        Raises:
            Enough: no further name can be created.
            Fenced: a newer agent has taken over.
        """
        for row in rows:
            self._try(row)

    def finish(self, rows: Iterable[Named]) -> None:
        """Give all directories their modes and times; those that existed keep theirs."""
        closed = [row for row in rows if row.entry.kind == DIRECTORY and not self._finish(row)]
        for row in reversed(closed):  # those below first: they may be out of reach afterwards
            self._finish(row, last=True)

    def _try(self, row: Named) -> None:
        try:
            self._add(row)
        except Taken:
            self._tally.skipped += 1
        except (Refused, OSError, ReplicatorError) as error:
            self._tally.refused(error)

    def _add(self, row: Named) -> None:
        path, entry = row
        if entry.kind == DIRECTORY:
            made = MakeDirectory(0, 0, path, entry.mode, entry.mtime_ns)
            kept = self._store.add_directory(made)
            if kept is not None:
                self._kept[path] = kept
                self._tally.skipped += 1
                return
        elif entry.kind == SYMLINK:
            self._store.make_symlink(MakeSymlink(0, 0, path, entry.mtime_ns, entry.link))
        else:
            put = PutFile(0, 0, path, entry.mode, 0, entry.mtime_ns, entry.digest)
            self._store.put(put, memoryview(b""))
        self._tally.created()

    def _finish(self, row: Named, *, last: bool = False) -> bool:
        """Give one directory its attributes; return False if it has to wait for those below it."""
        mode, mtime_ns = self._kept.get(row.path) or (row.entry.mode, row.entry.mtime_ns)
        if not last and mode & ACCESS != ACCESS:
            return False
        with suppress(OSError, Refused, PathRefused):  # the comparison finds what is wrong
            self._store.finish_directory(row.path, mode, mtime_ns)
        return True


def count(tree: Confined, most: int) -> int:
    """Return the number of names in a tree; stop counting once there are more than `most`."""
    found = 0
    below = [b""]
    while below and found <= most:
        directory = below.pop()
        with suppress(OSError), os.scandir(tree.directory(directory)) as names:
            for one in names:
                name = os.fsencode(one.name)
                if is_temporary(name):
                    continue
                found += 1
                if found > most:
                    break
                path = join(directory, name)
                if one.is_dir(follow_symlinks=False) and not too_deep(path):
                    below.append(path)
    return found
