"""A file that arrives in several frames: begun, fed, and published or discarded."""

from __future__ import annotations

import os
from typing import Optional

from replicator.agent.descriptors import keeping_time, write_all
from replicator.agent.hashing import Sha256
from replicator.agent.refusals import Refused
from replicator.agent.store import Store
from replicator.delta import ops, patch
from replicator.wire import changes
from replicator.wire.changes import PutFile


class Transfer:
    """One file on its way in.

    Args:
        store: where it goes.
        change: what it shall be.
        delta: its instructions copy from the file that is there now.

    Raises:
        Refused, OSError: it cannot begin.
    """

    def __init__(self, store: Store, change: PutFile, *, delta: bool) -> None:
        self.change = change
        self._store = store
        self._digest = Sha256()
        self._written = 0
        self._base: Optional[int] = None
        if delta:
            try:
                self._base = store.tree.open_file(change.path)
            except OSError as error:
                raise Refused(changes.BASE_MISMATCH, error.strerror or "") from error
        try:
            self._temporary = store.begin(change.path)
        except BaseException:
            self._close_base()
            raise

    def feed(self, pairs: list[list[int]], payload: bytes) -> None:
        """Write what the next instructions say.

        Raises:
            DeltaError: they do not hold together, copy from outside the base, or exceed the announced size.
            OSError: the disk refused.
        """
        base = self._base
        for piece in patch.replay(
            ops.decode(pairs, payload),
            lambda offset, length: b"" if base is None else os.pread(base, length, offset),
            base_size=0 if base is None else os.fstat(base).st_size,
            max_size=self.change.size - self._written,
        ):
            self._digest.update(piece)
            write_all(self._temporary.fd, memoryview(piece))
            self._written += len(piece)

    def finish(self) -> None:
        """Verify and publish.

        Raises:
            Refused: the content is not what was announced; for a delta, because the base was another one.
            OSError: the disk refused.
        """
        if self._written != self.change.size or self._digest.digest() != self.change.digest:
            delta = self._base is not None
            raise Refused(changes.BASE_MISMATCH if delta else changes.DIGEST_MISMATCH)
        with keeping_time(self._temporary.at):
            self._store.publish(self.change, self._temporary)
        self._close_base()

    def abort(self) -> None:
        """Discard what has arrived."""
        with keeping_time(self._temporary.at):
            self._store.discard(self._temporary)
        self._close_base()

    def _close_base(self) -> None:
        if self._base is not None:
            os.close(self._base)
            self._base = None
