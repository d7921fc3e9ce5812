"""Fetch the contents of files from packs, and create the files."""

from __future__ import annotations

from itertools import groupby
from typing import Callable, Iterator, NamedTuple

from replicator.agent.refusals import Refused
from replicator.agent.restore.additions import Additions, Taken
from replicator.agent.restore.fetch import BUFFER, Connection, FetchFailed, Part
from replicator.agent.restore.tally import Tally
from replicator.agent.transfer import Transfer
from replicator.errors import ReplicatorError
from replicator.wire.changes import DIGEST_MISMATCH, PutFile
from replicator.wire.manifest import Pack, Placed

GAP = 256 << 10
"""Bytes between two files that are read and discarded; for more, another request costs less."""


class Task(NamedTuple):
    """Files of one pack, in the order of their offsets, and the pack's index in the manifest."""

    number: int
    pack: Pack
    rows: list[Placed]


class PackReader:
    """Creates files from packs, in one thread.

    Args:
        store: creates the files.
        connection: to the store of objects.
        url: called with a pack's index and whether the last URL was refused.
        tally: counts the files.
        check: called before each file; raises to end the restore.
    """

    def __init__(
        self,
        store: Additions,
        connection: Connection,
        url: Callable[[int, bool], str],
        tally: Tally,
        check: Callable[[], None],
    ) -> None:
        self._store = store
        self._connection = connection
        self._url = url
        self._tally = tally
        self._check = check
        self._damaged = 0

    def restore(self, task: Task, *, was_empty: bool) -> bool:
        """Create the files of a task that do not exist; return False if the pack cannot be read, or is damaged.

        Args:
            task: what to create.
            was_empty: the target was empty, so that no name has to be looked up before its content is fetched.

        Raises:
            Enough: no further file can be created, or the restore was stopped.
            Fenced: a newer agent has taken over.
        """
        rows = task.rows if was_empty else self._missing(task.rows)
        self._damaged = done = 0
        self._store.tree.forget_all()  # a directory may have been moved away since the last task
        try:
            for run in _runs(rows):
                self._run(task, run)
                done += len(run)
        except FetchFailed as error:
            self._check()
            self._tally.explain(str(error))
            self._tally.failed += len(rows) - done  # perhaps some more than that
            return False
        return not self._damaged

    def _missing(self, rows: list[Placed]) -> list[Placed]:
        missing = []
        for row in rows:
            try:
                exists = self._store.exists(row.path)
            except (OSError, ReplicatorError) as error:
                self._tally.refused(error)
                continue
            if exists:
                self._tally.skipped += 1
            else:
                missing.append(row)
        return missing

    def _run(self, task: Task, run: list[Placed]) -> None:
        """Create files whose contents are read with one request."""
        again: list[Placed] = []
        with self._part(task, run[0].offset, run[-1].offset + run[-1].entry.size) as part:
            at = run[0].offset
            for offset, equal in groupby(run, lambda row: row.offset):
                part.skip(offset - at)
                row, *others = equal
                if row.entry.size <= BUFFER:
                    content = part.take(row.entry.size)
                    for each in (row, *others):
                        self._put(each, content)
                else:
                    self._receive(row, part)
                    again += others
                at = offset + row.entry.size
        for row in again:
            with self._part(task, row.offset, row.offset + row.entry.size) as part:
                self._receive(row, part)

    def _part(self, task: Task, start: int, end: int) -> Part:
        def url(fresh: bool) -> str:  # noqa: FBT001  # a callback
            return self._url(task.number, fresh)

        return Part(self._connection, url, start, end, task.pack.size)

    def _put(self, row: Placed, content: memoryview) -> None:
        self._check()
        try:
            self._store.put(_change(row), content)
        except Taken:
            self._tally.skipped += 1
        except (Refused, OSError, ReplicatorError) as error:
            self._refused(error)
        else:
            self._tally.created(row.entry.size)

    def _receive(self, row: Placed, part: Part) -> None:
        """Create a large file, a piece at a time. Raises FetchFailed."""
        left = row.entry.size
        try:
            transfer = Transfer(self._store, _change(row), delta=False)
        except (Refused, OSError, ReplicatorError) as error:
            self._refused(error)
            part.skip(left)
            return
        try:
            for size in _pieces(left):
                self._check()
                content = bytes(part.take(size))
                left -= size
                transfer.feed([[-1, size]], content)
                self._tally.content += size  # as progress; a file may take an hour
            transfer.finish()
        except BaseException as error:
            transfer.abort()
            self._tally.content -= row.entry.size - left
            if isinstance(error, Taken):
                self._tally.skipped += 1
            elif isinstance(error, (Refused, OSError, ReplicatorError)):
                self._refused(error)
                part.skip(left)
            else:
                raise
        else:
            self._tally.created()

    def _refused(self, error: Exception) -> None:
        if isinstance(error, Refused) and error.reason == DIGEST_MISMATCH:
            self._damaged += 1
        self._tally.refused(error)


def _change(row: Placed) -> PutFile:
    entry = row.entry
    return PutFile(0, 0, row.path, entry.mode, entry.size, entry.mtime_ns, entry.digest)


def _pieces(size: int) -> Iterator[int]:
    while size:
        piece = min(size, BUFFER)
        yield piece
        size -= piece


def _runs(rows: list[Placed]) -> Iterator[list[Placed]]:
    """Divide rows where there is a gap between their contents; leave out those that overlap others without being equal."""
    run: list[Placed] = []
    start = end = 0
    for row in rows:
        place = row.offset, row.offset + row.entry.size
        if place != (start, end) and row.offset < end:
            continue
        if run and row.offset - end > GAP:
            yield run
            run = []
        run.append(row)
        start, end = place
    if run:
        yield run
