"""An object store in memory."""

import threading
import time

from replicator.errors import StoreError
from replicator.ports import Stored, Versioned


class FakeStore:
    """Passes tests/contract/test_object_store.py.

    Attributes:
        objects: bytes by name.
        modified: when each was written.
        versions: version by name.
        conditions: False for a store that ignores conditions of `swap`.
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
        self.versions = {}
        self.conditions = True
        self.failure = ""
        self.log = []
        self.before = lambda _: None
        self.clock = time.time
        self._writes = 0
        self._lock = threading.RLock()

    def put(self, name, body, pace):
        self._do("put", name)
        pace(len(body))
        self._store(name, bytes(body))

    def swap(self, name, body, version):
        self._do("put", name)
        with self._lock:
            found = self.versions[name] if name in self.objects else None
            if self.conditions and found != version:
                return None
            self._store(name, bytes(body))
            return self.versions[name]

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

    def load(self, name, limit):
        found = self.get(name, limit)
        return None if found is None else Versioned(found, self.versions[name])

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
            self.versions.pop(name, None)

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
            self._writes += 1
            self.versions[name] = f"version {self._writes}"
            self.bytes_sent += len(body)

    def _do(self, what, name):
        self.requests += 1
        self.log.append((what, name))
        self.before((what, name))
        if self.failure:
            raise StoreError(self.failure)
