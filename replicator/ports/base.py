"""Interface to the base: what an object store holds of the trees, so that a new frontend need not get it from the backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

MANIFEST = -1
"""Stands for the manifest itself where packs are given by their index."""


class Offer(NamedTuple):
    """The newest base of a tree.

    Attributes:
        manifest: SHA-256 of the manifest's bytes; see `wire.manifest`.
        size: number of the manifest's bytes.
        url: where the manifest can be read for the next 10 to 15 minutes. A secret: never logged.
        rows: number of entries in the manifest.
        content: bytes of all its files.
    """

    manifest: bytes
    size: int
    url: str
    rows: int
    content: int


class BasePublisher(Protocol):
    """Publishes the bases of all trees."""

    async def publish(self, *, take_over: bool = False) -> list[dict[str, Any]]:
        """Publish all trees now; return a row for each.

        Args:
            take_over: also if the prefix belongs to another backend.

        Raises:
            ReplicatorError: if that fails.
        """

    async def prune(self) -> dict[str, Any]:
        """Remove now what no restore can ask for, and trees that are not configured any more; return the numbers of objects and bytes.

        Raises:
            ReplicatorError: if that fails.
        """

    def describe(self) -> dict[str, Any]:
        """Return the state as JSON values, for `status`."""


class Base(Protocol):
    """Offers the bases of the trees.

    What is offered stays in the store until the last of its URLs has expired, and for a while longer. A restore that needs a long time
    asks for URLs again and again; each answer prolongs that time.
    """

    async def offer(self, tree: bytes) -> Offer | None:
        """Return the newest complete base of the tree whose source is `tree`; None if there is none, or the store fails."""

    async def urls(self, tree: bytes, manifest: bytes, packs: Sequence[int]) -> list[str]:
        """Return a URL for each pack, valid for the next 10 to 15 minutes. A secret: never logged.

        Args:
            tree: the tree's source.
            manifest: digest of a manifest that was offered.
            packs: indices in the manifest's table of packs, or MANIFEST.

        Raises:
            StoreError: if the manifest is not offered any more, an index is not in its table, or URLs cannot be made.
        """
