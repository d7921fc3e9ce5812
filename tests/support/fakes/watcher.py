"""A watcher that the test feeds."""

import asyncio

from replicator.errors import SourceError
from replicator.model import Hint, Hinted


class FakeWatcher:
    """A watcher that reports the hints given to `hint`. Passes tests/contract/test_watcher.py.

    Attributes:
        overflows: see ports.Watcher.
        hinted: queue of hints; an exception in it is raised by `hints`.
        failure: if set, `start` raises a SourceError with this text.
        sentences: result of `problems`.
        files: result of `unheard_files`.
        closed: True once `close` was called.
    """

    def __init__(self):
        self.overflows = 0
        self.hinted = asyncio.Queue()
        self.failure = ""
        self.sentences = []
        self.files = []
        self.closed = False
        self._started = False

    async def start(self):
        if self.failure:
            raise SourceError(self.failure)
        self._started = True

    async def hints(self):
        hint = await self.hinted.get()
        if isinstance(hint, Exception):
            raise hint
        return [hint]

    def is_drained(self, since):
        return self._started and not self.closed and self.hinted.empty()

    def hint(self, path, kind=Hinted.CHANGED, target=b""):
        self.hinted.put_nowait(Hint(kind, path, target))

    def overflow(self):
        """Report that events were dropped, and that everything must be scanned."""
        self.overflows += 1
        self.hint(b"", Hinted.SUBTREE)

    def problems(self):
        return self.sentences

    def unheard_files(self):
        return self.files

    def watches(self):
        return int(self._started and not self.closed), None

    def rescan_every(self, seconds):
        pass

    def close(self):
        self.closed = True
