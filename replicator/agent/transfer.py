"""Receive a file that arrives in several frames, and publish it once it is complete and verified."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Optional

from replicator.agent.descriptors import keeping_time, write_all
from replicator.agent.file_writer import COPY
from replicator.agent.hashing import Sha256
from replicator.agent.refusals import Refused
from replicator.agent.store import Store
from replicator.agent.summing import version_of
from replicator.delta import ops, patch
from replicator.model import parent
from replicator.wire import changes
from replicator.wire.changes import PutFile

TRIED = 16 << 20
"""Bytes up to which free space is not checked: a file system that compresses may have room, and sending this in vain costs little."""


def _check_room(at: int, size: int) -> None:
    """Refuse a large file that does not fit into the file system, before its content is sent.

    Raises:
        Refused: NO_SPACE.
    """
    disk = os.fstatvfs(at)
    free = (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize
    if disk.f_blocks and size > max(free, TRIED):
        raise Refused(changes.NO_SPACE, f"No space left on device: {size} bytes, {free} are free")


class Transfer:
    """A file in progress; end it with `finish` or `abort`.

    Args:
        store: the tree that it belongs to.
        change: path, size, digest and attributes of the file.
        delta: whether its instructions copy from the file that is at the path now.
        base: version that this file must have; see `summing.version_of`. Empty: any.

    Attributes:
        change: the argument.
        store: the argument.

    Raises:
        Refused, OSError: the base cannot be opened or has changed, or the file cannot be created or does not fit.
    """

    def __init__(self, store: Store, change: PutFile, *, delta: bool, base: str = "") -> None:
        self.change = change
        self.store = store
        self._digest = Sha256()
        self._written = 0
        self._base: Optional[int] = None
        self._buffers: list[memoryview] = []
        with ExitStack() as held:
            if delta:
                try:
                    self._base = store.tree.open_file(change.path)
                except OSError as error:
                    raise Refused(changes.BASE_MISMATCH, error.strerror or "") from error
                held.callback(os.close, self._base)
                if base not in ("", version_of(os.fstat(self._base))):
                    raise Refused(changes.BASE_MISMATCH, "it has changed since it was summed")
            at = os.dup(store.directories.changing(parent(change.path)))
            held.callback(os.close, at)
            _check_room(at, change.size)
            self._temporary = store.begin(change.path, at)
            self._held = held.pop_all()

    def feed(self, pairs: list[list[int]], payload: bytes) -> None:
        """Write the content that the next instructions produce.

        Raises:
            DeltaError: they are malformed, copy from outside the base, or exceed the announced size.
            OSError: reading or writing failed.
            HungUp, Fenced: see `Store.check_heard`; checked for each MiB, because one frame may copy all of a huge base.
        """
        heard_at = self._written
        for piece in patch.replay(
            ops.decode(pairs, payload),
            self._read_base,
            base_size=0 if self._base is None else os.fstat(self._base).st_size,
            max_size=self.change.size - self._written,
        ):
            self._digest.update(piece)
            write_all(self._temporary.fd, memoryview(piece))
            self._written += len(piece)
            if self._written - heard_at >= COPY:
                heard_at = self._written
                self.store.check_heard()

    def finish(self) -> None:
        """Verify the content, and publish the file.

        Raises:
            Refused: the content is not what was announced (for a delta, because its base was another version), or the root was moved,
                removed or replaced.
            OSError: a system call failed.
            Fenced: a newer agent has taken over.
        """
        if self._written != self.change.size or self._digest.digest() != self.change.digest:
            delta = self._base is not None
            raise Refused(changes.BASE_MISMATCH if delta else changes.DIGEST_MISMATCH)
        self.store.lease.check()  # the transfer may have taken long
        with keeping_time(self._temporary.at):
            self.store.publish(self.change, self._temporary)
        self._held.close()

    def abort(self) -> None:
        """Discard the content received so far."""
        with keeping_time(self._temporary.at):
            self.store.discard(self._temporary)
        self._held.close()

    def _read_base(self, offset: int, length: int) -> memoryview:
        """Return bytes of the base, valid until the second call after this one: a thread may still be hashing the previous piece.

        Two buffers are used in turn: with new memory for each piece, page faults take 40 ms more for 256 MiB.
        """
        if self._base is None:
            return memoryview(b"")
        if not self._buffers:
            size = min(patch.MAX_PIECE, os.fstat(self._base).st_size)
            self._buffers = [memoryview(bytearray(size)) for _ in range(2)]
        self._buffers.reverse()
        into = self._buffers[0][:length]
        return into[: os.preadv(self._base, [into], offset)]
