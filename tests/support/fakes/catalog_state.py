"""What a FakeCatalog stores beside records: the root, the mounts, and the deletions that are held back."""

import threading
from contextlib import contextmanager

from replicator.errors import SourceError


class CatalogState:
    """The methods of ports.Catalog that are about these.

    Attributes:
        records: the records by path.
        failure: if set, every method raises a SourceError with this text.
    """

    def __init__(self):
        self.records = {}
        self.failure = ""
        self._lock = threading.Lock()
        self._identity = None
        self._mounts = {}
        self._reason = ""
        self._withheld = set()
        self._before = None

    @contextmanager
    def _using(self):
        with self._lock:
            if self.failure:
                raise SourceError(self.failure)
            yield

    def root_identity(self):
        with self._using():
            return self._identity

    def set_root_identity(self, identity):
        with self._using():
            self._identity = identity

    def paused(self):
        with self._using():
            return self._reason

    def pause(self, reason, before, paths):
        with self._using():
            if not self._reason:
                self._withheld.clear()
            self._reason = reason
            self._before = before
            self._withheld.update(paths)

    def unpause(self):
        with self._using():
            self._reason = ""
            self._before = None
            self._withheld.clear()

    def withheld(self):
        with self._using():
            if self._before is None:
                return None
            return len(self._withheld - self.records.keys()), self._before

    def mounts(self):
        with self._using():
            return dict(self._mounts)

    def set_mounts(self, mounts):
        with self._using():
            self._mounts = dict(mounts)

    def withheld_samples(self, most):
        with self._using():
            return sorted(self._withheld - self.records.keys())[:most]
