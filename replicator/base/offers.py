"""What frontends may restore from: the newest bases, and URLs for their objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import structlog

from replicator.base.layout import manifest_name, pack_name
from replicator.base.published import Published
from replicator.errors import StoreError
from replicator.ports import MANIFEST, ObjectStore, Offer
from replicator.wire.fields import DIGEST_SIZE

log = structlog.get_logger()

URL_LIFE = 900
"""Seconds for which a URL is valid."""

URL_SHARED = 300.0
"""Seconds for which the same URL is given to several frontends."""


MOST_TABLES = 100
"""Tables of packs that are kept of bases that are not in use; each has 32 bytes for each pack. Others are read from the store again."""


class _Newest(NamedTuple):
    """The newest base of a tree, and whether it may be used now."""

    published: Published
    usable: Callable[[], bool]


class Offers:
    """Offers the newest bases; implements `ports.Base`.

    Args:
        store: makes the URLs.
        keep: seconds after an offer or a URL during which a manifest counts as in use.

    Attributes:
        tables: packs of known manifests, by the manifest's digest.
    """

    def __init__(self, store: ObjectStore, keep: float) -> None:
        self.tables: dict[bytes, bytes] = {}
        self._store = store
        self._keep = keep
        self._newest: dict[bytes, _Newest] = {}
        self._used: dict[bytes, tuple[bytes, float]] = {}
        self._urls: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="base-urls")

    def set_newest(
        self, tree: bytes, published: Published | None, usable: Callable[[], bool] = lambda: True
    ) -> None:
        """Offer this base of a tree from now on; None: none. May be called from any thread.

        Args:
            tree: the tree's source.
            published: the base.
            usable: called before each offer; False if a frontend would keep something that it must not have.
        """
        with self._lock:
            if published is None:
                self._newest.pop(tree, None)
            else:
                self.tables[published.manifest] = published.packs
                self._newest[tree] = _Newest(published, usable)
                self._drop_tables()

    def newest(self, tree: bytes) -> Published | None:
        """Return the newest base of a tree; None if there is none that may be used."""
        found = self._newest.get(tree)
        return found.published if found is not None and found.usable() else None

    def in_use(self, now: float) -> set[bytes]:
        """Return the manifests from which frontends may be restoring at `now`, a time of the loop's clock. Callable from any thread."""
        with self._lock:
            self._used = {m: u for m, u in self._used.items() if u[1] > now - self._keep}
            return {*self._used, *(one.published.manifest for one in self._newest.values())}

    async def offer(self, tree: bytes) -> Offer | None:
        """Return the newest complete base of a tree; see `ports.Base`."""
        newest = self.newest(tree)
        if newest is None:
            return None
        self._use(tree, newest.manifest)
        try:
            (url,) = await self._make([manifest_name(newest.manifest)])
        except StoreError as error:
            log.warning("base not offered", reason=str(error))
            return None
        return Offer(newest.manifest, newest.size, url, newest.rows, newest.content)

    async def urls(self, tree: bytes, manifest: bytes, packs: Sequence[int]) -> list[str]:
        """Return a URL for each pack; see `ports.Base`."""
        used = self._used.get(manifest)
        table = self.tables.get(manifest)
        if used is None or used[0] != tree or table is None:
            raise StoreError("this base is not offered any more")
        count = len(table) // DIGEST_SIZE
        if not all(MANIFEST <= pack < count for pack in packs):
            raise StoreError("the base has no such pack")
        self._use(tree, manifest)
        return await self._make(
            [
                manifest_name(manifest)
                if pack == MANIFEST
                else pack_name(table[pack * DIGEST_SIZE : (pack + 1) * DIGEST_SIZE])
                for pack in packs
            ]
        )

    def close(self) -> None:
        """End the thread that makes URLs; nothing is offered any more."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _drop_tables(self) -> None:
        """Drop the tables of bases that are not in use, if there are many. The next removal of garbage may be hours away."""
        if len(self.tables) > MOST_TABLES:
            newest = {one.published.manifest for one in self._newest.values()}
            for manifest in self.tables.keys() - self._used.keys() - newest:
                del self.tables[manifest]

    def _use(self, tree: bytes, manifest: bytes) -> None:
        with self._lock:
            self._used[manifest] = tree, asyncio.get_running_loop().time()

    async def _make(self, names: Sequence[str]) -> list[str]:
        if self._closed:
            raise StoreError("this base is not offered any more")
        now = asyncio.get_running_loop().time()
        self._urls = {n: u for n, u in self._urls.items() if u[1] > now - URL_SHARED}
        found = {name: self._urls[name][0] for name in names if name in self._urls}
        missing = [name for name in names if name not in found]
        if missing:
            # In a thread, because renewing credentials uses the network.
            made = await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: [self._store.url(name, URL_LIFE) for name in missing]
            )
            fresh = dict(zip(missing, made, strict=True))
            self._urls |= {name: (url, now) for name, url in fresh.items()}
            found |= fresh
        return [found[name] for name in names]
