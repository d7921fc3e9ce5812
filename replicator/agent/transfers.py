"""The files of one connection that arrive in several frames."""

from __future__ import annotations

from typing import Optional

from replicator.agent.refusals import Refused
from replicator.agent.results import Results
from replicator.agent.store import Store
from replicator.agent.transfer import Transfer
from replicator.errors import ProtocolError, ReplicatorError
from replicator.wire import changes
from replicator.wire.messages import BeginFile, Data

MOST = 16
"""Files in progress at a time; to begin more is a protocol error. The backend streams up to four, and large live changes beside them."""


class Transfers:
    """The files in progress, by number. A refused file stays here until its last frame, and its content is discarded.

    Args:
        results: receives what became of them.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._transfers: dict[int, Optional[Transfer]] = {}  # None: refused

    def begin(self, store: Store, begin: BeginFile) -> None:
        """Begin a file.

        Raises:
            ProtocolError: the file was begun before, or too many files are in progress.
        """
        number = begin.put.number
        if number in self._transfers or len(self._transfers) >= MOST:
            raise ProtocolError("too many files in progress, or a file begun twice")
        self._transfers[number] = None
        try:
            self._transfers[number] = Transfer(store, begin.put, delta=begin.delta, base=begin.base)
        except (Refused, OSError, ReplicatorError) as error:
            self._results.refuse(number, error)

    def feed(self, data: Data, payload: bytes) -> None:
        """Process the next part of a file.

        Raises:
            ProtocolError: the file was not begun.
        """
        if data.number not in self._transfers:
            raise ProtocolError("data for a file that was not begun")
        transfer = self._transfers[data.number]
        if transfer is not None and data.cancel:
            transfer.abort()
            self._results.refuse(
                data.number,
                Refused(changes.DIGEST_MISMATCH, "the source changed while it was being sent"),
            )
        elif transfer is not None:
            self._transfers[data.number] = self._advance(transfer, data, payload)
        if data.end or data.cancel:
            del self._transfers[data.number]

    def _advance(self, transfer: Transfer, data: Data, payload: bytes) -> Optional[Transfer]:
        """Process the next part of a transfer; return the transfer, or None once it was answered."""
        try:
            transfer.feed(data.pairs, payload)
            if not data.end:
                return transfer
            transfer.finish()
            self._results.applied(transfer.change)
        except (Refused, OSError, ReplicatorError) as error:
            transfer.abort()
            self._results.refuse(data.number, error)
        return None

    def closed(self, store: Store) -> None:
        """Refuse the files in progress of a tree that is opened again."""
        for number, transfer in self._transfers.items():
            if transfer is not None and transfer.store is store:
                self._transfers[number] = None
                transfer.abort()
                self._results.refuse(number, Refused(changes.FAILED, "its tree was opened again"))

    def abort(self) -> None:
        """Discard all content received so far."""
        for transfer in self._transfers.values():
            if transfer is not None:
                transfer.abort()
