"""The URLs of packs: the threads of a restore wait for them, and the main loop requests them from the backend."""

from __future__ import annotations

import threading
from typing import Callable, Iterable

from replicator.agent.restore.fetch import FetchFailed
from replicator.wire.restoring import MANIFEST, MAX_ASKED

AHEAD = 16
"""Packs whose URLs are requested together with that of the pack which is read next: a quarter of a GiB."""

KEPT = 64
"""Packs before the one that is read next whose URLs are kept; the threads are a few packs apart."""

PATIENCE = 60.0
"""Seconds that a thread waits for a URL. The backend makes one in a millisecond."""


class UrlBook:
    """URLs by the index of the pack.

    Args:
        manifest: URL of the manifest.
        wake: called when `wanted` has something to return.

    Attributes:
        packs: number of packs, once it is known.
    """

    def __init__(self, manifest: str, wake: Callable[[], None]) -> None:
        self.packs = 0
        self._wake = wake
        self._urls = {MANIFEST: manifest}
        self._wanted: list[int] = []
        self._requested: set[int] = set()
        self._changed = threading.Condition()
        self._stopped = False

    def get(self, pack: int, *, fresh: bool) -> str:
        """Return the URL of a pack, or of the manifest; wait until the backend has sent it.

        Args:
            pack: its index, or MANIFEST.
            fresh: the store has refused the URL that was returned last.

        Raises:
            FetchFailed: the backend has none, or the restore was stopped.
        """
        with self._changed:
            if fresh:
                self._urls.pop(pack, None)
            if pack not in self._urls:
                self._request(pack)
            if not self._changed.wait_for(lambda: pack in self._urls or self._stopped, PATIENCE):
                raise FetchFailed("the backend sends no URL")
            if self._stopped:
                raise FetchFailed("the restore was stopped")
            url = self._urls[pack]
        if not url:
            raise FetchFailed("the backend has no URL for this part of the base")
        return url

    def wanted(self) -> list[int]:
        """Return the packs to request now, at most MAX_ASKED."""
        with self._changed:
            found, self._wanted = self._wanted[:MAX_ASKED], self._wanted[MAX_ASKED:]
        return found

    def receive(self, urls: Iterable[tuple[int, str]]) -> None:
        """Record what the backend has sent, as far as it was requested."""
        with self._changed:
            for pack, url in urls:
                if pack in self._requested:
                    self._requested.discard(pack)
                    self._urls[pack] = url
            self._changed.notify_all()

    def stop(self) -> None:
        """End all waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _request(self, pack: int) -> None:
        """Request a URL and those that will be needed next; forget old ones."""
        ahead = range(pack, max(pack + 1, min(pack + AHEAD, self.packs)))
        for each in ahead:
            if each not in self._urls and each not in self._requested:
                self._requested.add(each)
                self._wanted.append(each)
        for each in [each for each in self._urls if MANIFEST < each < pack - KEPT]:
            del self._urls[each]
        self._wake()
