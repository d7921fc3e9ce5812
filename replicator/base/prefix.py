"""The prefix of an object store that holds the base, and the claim of this process to be its only writer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from replicator.base.layout import MAX_JSON, OWNER, PACKS, Damaged, Owner, digest_in, digests_in
from replicator.errors import StoreError
from replicator.ports import ObjectStore, Pace

_REMEDY = "give this one a prefix of its own in base.url, or run `replicator base publish --take-over` if the other one is gone"


class Prefix:
    """One prefix, of which this process is the only writer. Used by one thread.

    Args:
        store: the objects.
        identity: of the state directory; another identity in the store means that another backend writes there.
        pace: see `ports.ObjectStore`.
        now: returns seconds since the epoch.

    Attributes:
        packs: bytes of each complete pack in the store, by digest.
        since: when this process began to write, in seconds since the epoch; 0 before `open`.
        took_over: True if the prefix belonged to another backend before.
    """

    def __init__(
        self,
        store: ObjectStore,
        identity: str,
        pace: Pace,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.pace = pace
        self.now = now
        self.packs: dict[bytes, int] = {}
        self.since = 0.0
        self.took_over = False
        self._identity = identity
        self._session = secrets.token_hex(8)
        self._lost = ""

    @property
    def is_open(self) -> bool:
        """True after `open`."""
        return bool(self.since)

    def open(self, *, take_over: bool = False) -> None:
        """Claim the prefix, and list its packs. An earlier process with the same state directory loses its claim.

        Args:
            take_over: claim it also if it belongs to another backend, or this process has lost it.

        Raises:
            StoreError: if it belongs to another backend or was lost, or the store fails.
        """
        if self._lost and not take_over:
            raise StoreError(self._lost)
        since = self.now()
        mine = Owner(self._identity, self._session, since).encode()
        if self.store.swap(OWNER, mine, None) is None:
            found, version = self._owner()
            self.took_over = found is not None and found.identity != self._identity
            if self.took_over and not take_over:
                raise StoreError(f"another backend publishes below this prefix: {_REMEDY}")
            if self.store.swap(OWNER, mine, version) is None:
                raise StoreError("another process has begun to publish below this prefix just now")
        self.list_packs()
        self.since, self._lost = since, ""

    def check(self) -> None:
        """Check, before anything is changed that readers rely on, that this process still is the writer.

        Raises:
            StoreError: if another process has claimed the prefix; this one then writes nothing any more, until `take_over`. Or if the
                object that says so is missing or damaged; the next `open` writes it again.
        """
        found, _ = self._owner()
        if found is None:
            self.since = 0.0
            raise StoreError(
                "the owner in the object store is missing or damaged: it is written again"
            )
        if found.session != self._session:
            same = found.identity == self._identity
            who = (
                "another process with a copy of this state directory" if same else "another backend"
            )
            self.since = 0.0
            self._lost = f"{who} has begun to publish below this prefix: {_REMEDY}"
            raise StoreError(self._lost)

    def list_packs(self) -> dict[bytes, float]:
        """Read the list of packs; return when each was written, in seconds since the epoch."""
        packs, modified = {}, {}
        for stored in self.store.list(PACKS):
            digest = digest_in(stored.name)
            if digest is not None:
                packs[digest] = stored.size
                modified[digest] = stored.modified
        self.packs = packs
        return modified

    def forget(self, packs: Iterable[bytes]) -> None:
        """Do not count packs as complete any more, because they will be deleted."""
        for digest in packs:
            self.packs.pop(digest, None)

    def has(self, packs: bytes) -> bool:
        """Return True if all packs of a table are in the store."""
        return all(digest in self.packs for digest in digests_in(packs))

    def _owner(self) -> tuple[Owner | None, str | None]:
        """Return the owner, and the version of its object.

        The owner is None if there is none, or if its object is damaged, so that nobody can be harmed; the version if there is no object.
        """
        loaded = self.store.load(OWNER, MAX_JSON)
        if loaded is None:
            return None, None
        with suppress(Damaged):
            return Owner.decode(loaded.body), loaded.version
        return None, loaded.version
