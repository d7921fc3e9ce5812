"""A cache of encoded frames, so that replicas which need the same frame encode it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

CACHE_BYTES = 64 << 20
"""Bytes of frames that are kept for other replicas: at 100 MB/s for each, two that are half a second apart share them."""


class FrameCache(Generic[T]):
    """A least-recently-used cache that is limited by bytes. Thread-safe.

    Args:
        limit: bytes of all values at most.
        size: returns the bytes of a value.
    """

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self._limit = limit
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0
        self._making: dict[Hashable, threading.Event] = {}

    def get(self, key: Hashable, make: Callable[[], T | None]) -> T | None:
        """Return the value of a key, or else call `make` and store its result, unless that is None.

        If another thread is calling `make` for the same key, wait for its result: frontends that are filled at the same time need
        the same frame at the same moment.
        """
        done = threading.Event()
        while True:
            with self._lock:
                found = self._kept.get(key)
                if found is not None:
                    self._kept.move_to_end(key)
                    return found
                making = self._making.setdefault(key, done)
            if making is done:
                return self._make(key, make, done)
            making.wait()

    def _make(self, key: Hashable, make: Callable[[], T | None], done: threading.Event) -> T | None:
        try:
            made = make()
            if made is not None:
                self._keep(key, made)
            return made
        finally:
            with self._lock:
                del self._making[key]
            done.set()

    def _keep(self, key: Hashable, made: T) -> None:
        with self._lock:
            self._kept[key] = made
            self._bytes += self._size(made)
            while self._bytes > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= self._size(oldest)
