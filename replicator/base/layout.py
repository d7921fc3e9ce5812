"""The objects of a base: their names, and the two that are JSON.

Names of packs and manifests are the SHA-256 of their bytes. The pointer of a tree names its manifest; it is written last, so that whatever
it names is complete. It also names the manifests that it has replaced, because running restores may still read their packs.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

from replicator.errors import StoreError
from replicator.model import printable
from replicator.wire.fields import DIGEST_SIZE

OWNER = "owner"
PACKS = "packs/"
MANIFESTS = "manifests/"
TREES = "trees/"

MAX_JSON = 1 << 20
"""Bytes in an owner or a pointer."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Damaged(StoreError):
    """Raised if an object has other bytes than were written: an upload was cut off, or another program has changed it."""


class Owner(NamedTuple):
    """Who may write below a prefix.

    Attributes:
        identity: of the backend's state directory.
        session: of one process; a second process with a copy of the same state directory has another one.
        since: when the process began to write, in seconds since the epoch.
    """

    identity: str
    session: str
    since: float

    def encode(self) -> bytes:
        """Return the object's bytes."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decode(cls, data: bytes) -> Owner:
        """Return the owner in an object. Raises Damaged."""
        value = _json(data, "owner")
        try:
            return cls(str(value["identity"]), str(value["session"]), float(value["since"]))
        except (KeyError, TypeError, ValueError):
            raise _malformed("owner") from None


class Retired(NamedTuple):
    """A manifest that was replaced, and when, in seconds since the epoch."""

    manifest: bytes
    at: float


class Pointer(NamedTuple):
    """What a tree's pointer names.

    Attributes:
        source: the tree's source directory, for an operator.
        manifest: digest of the manifest.
        size: bytes of the manifest.
        when: when it was published, in seconds since the epoch.
        retired: earlier manifests whose packs must be kept for a while.
    """

    source: str
    manifest: bytes
    size: int
    when: float
    retired: tuple[Retired, ...] = ()

    def encode(self) -> bytes:
        """Return the object's bytes."""
        retired = [[one.manifest.hex(), one.at] for one in self.retired]
        value = {**self._asdict(), "manifest": self.manifest.hex(), "retired": retired}
        return json.dumps(value).encode()

    @classmethod
    def decode(cls, data: bytes) -> Pointer:
        """Return the pointer in an object. Raises Damaged."""
        value = _json(data, "pointer")
        try:
            return cls(
                str(value["source"]),
                _digest(value["manifest"]),
                int(value["size"]),
                float(value["when"]),
                tuple(Retired(_digest(digest), float(at)) for digest, at in value["retired"]),
            )
        except (KeyError, TypeError, ValueError):
            raise _malformed("pointer") from None


def pointer_name(source: bytes) -> str:
    """Return the name of the pointer of the tree with this source."""
    return TREES + hashlib.sha256(source).hexdigest()[:32]


def pack_name(digest: bytes) -> str:
    """Return the name of a pack."""
    return PACKS + digest.hex()


def manifest_name(digest: bytes) -> str:
    """Return the name of a manifest."""
    return MANIFESTS + digest.hex()


def digest_in(name: str) -> bytes | None:
    """Return the digest in the name of a pack or a manifest; None if the name has another form."""
    text = name.rpartition("/")[2]
    return bytes.fromhex(text) if _DIGEST.fullmatch(text) else None


def shown(source: bytes) -> str:
    """Return a tree's source as it is stored in its pointer."""
    return printable(source)


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError
    return bytes.fromhex(value)


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise _malformed(what) from None
    if not isinstance(value, dict):
        raise _malformed(what)
    return value


def _malformed(what: str) -> Damaged:
    return Damaged(f"the {what} in the object store is malformed or damaged")


def digests_in(packs: bytes) -> list[bytes]:
    """Return the digests in a table of packs, of 32 bytes each."""
    return [packs[at : at + DIGEST_SIZE] for at in range(0, len(packs), DIGEST_SIZE)]
