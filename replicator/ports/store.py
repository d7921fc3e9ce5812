"""Interface to an object store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

Pace = Callable[[int], None]
"""Called before each part of an upload with its number of bytes; it blocks as long as the bandwidth requires, and may raise to end it."""


class Stored(NamedTuple):
    """An object in the store: its name, its bytes, and when it was written, in seconds since the epoch by the store's clock."""

    name: str
    size: int
    modified: float


class Versioned(NamedTuple):
    """The bytes of an object, and what the store calls this version of it."""

    body: bytes
    version: str


class ObjectStore(Protocol):
    """The objects below one prefix of a bucket. All calls but `url` use the network, and block. Thread-safe.

    Every method raises StoreError if the store cannot be reached or refuses the request; with a full sentence.

    Attributes:
        requests: number of requests so far.
        bytes_sent: bytes of the objects written so far.
    """

    requests: int
    bytes_sent: int

    def put(self, name: str, body: bytes, pace: Pace) -> None:
        """Write an object, or replace it. Readers see the old bytes or all of the new ones.

        If the upload is cut off, Amazon S3 writes nothing, but another store may make an empty object of more than 1 MiB. So an object
        whose name is a digest counts only if it has its full size.
        """

    def swap(self, name: str, body: bytes, version: str | None) -> str | None:
        """Write a small object only if it still has this version; return its new version, or None if it has another one now.

        A store that knows no conditions writes it in any case.

        Args:
            name: its name.
            body: its new bytes.
            version: from `load` or `swap`; None: only if there is no object of this name.
        """

    def put_parts(self, name: str, parts: Iterable[bytes], pace: Pace) -> None:
        """Write an object in parts, each of at least 5 MiB but the last. If `parts` raises, nothing is written."""

    def get(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of an object; None if there is none.

        Raises:
            StoreError: also if it has more than `limit` bytes.
        """

    def load(self, name: str, limit: int) -> Versioned | None:
        """Return the bytes of an object as `get` does, with its version."""

    def list(self, below: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `below`."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that do not exist count as deleted."""

    def abort_uploads(self, older: float) -> int:
        """Discard the parts of uploads in parts that were begun before `older` (seconds since the epoch) and never completed.

        Returns:
            The number of uploads.
        """

    def url(self, name: str, seconds: int) -> str:
        """Return a URL at which anyone can read an object for some time. A secret: never logged. May block to renew credentials."""

    def close(self) -> None:
        """Release connections."""
