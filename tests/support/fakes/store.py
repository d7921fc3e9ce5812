"""An object store in memory."""

import threading
import time

from replicator.errors import StoreError
from replicator.ports import Stored


class FakeStore:
    """Passes tests/contract/test_object_store.py.

    Attributes:
        objects: bytes by name.
        modified: when each was written.
        failure: if set, every method raises a StoreError with this text.
        log: what was done: ("put", name), ("get", name), ("delete", name), ("list", prefix).
        clock: returns seconds since the epoch.
        before: called with each entry of the log before it is done; may raise.
    """

    def __init__(self):
        self.requests = 0
        self.bytes_sent = 0
        self.objects = {}
        self.modified = {}
        self.failure = ""
        self.log = []
        self.before = lambda _: None
        self.clock = time.time
        self._lock = threading.RLock()

    def put(self, name, body, pace):
        self._do("put", name)
        pace(len(body))
        self._store(name, bytes(body))

    def create(self, name, body):
        self._do("put", name)
        with self._lock:
            if name in self.objects:
                return False
            self._store(name, bytes(body))
            return True

    def put_parts(self, name, parts, pace):
        body = bytearray()
        for part in parts:
            self._do("put", name)
            pace(len(part))
            body += part
        self._store(name, bytes(body))

    def get(self, name, limit):
        self._do("get", name)
        found = self.objects.get(name)
        if found is not None and len(found) > limit:
            raise StoreError(f"{name} has more than {limit} bytes")
        return found

    def list(self, below):
        self._do("list", below)
        for name in sorted(self.objects):
            if name.startswith(below):
                yield Stored(name, len(self.objects[name]), self.modified[name])

    def delete(self, names):
        for name in names:
            self._do("delete", name)
            self.objects.pop(name, None)
            self.modified.pop(name, None)

    def abort_uploads(self, older):
        self._do("list", "uploads")
        return 0

    def url(self, name, seconds):
        if self.failure:
            raise StoreError(self.failure)
        return f"fake://{name}?seconds={seconds}"

    def close(self):
        pass

    def _store(self, name, body):
        with self._lock:
            self.objects[name] = body
            self.modified[name] = self.clock()
            self.bytes_sent += len(body)

    def _do(self, what, name):
        self.requests += 1
        self.log.append((what, name))
        self.before((what, name))
        if self.failure:
            raise StoreError(self.failure)
