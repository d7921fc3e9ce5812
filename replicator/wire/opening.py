"""Messages that open the trees: where a target is, where the sources are, and what the agent says about the target."""

from __future__ import annotations

from typing import Any, NamedTuple

from replicator.errors import ProtocolError
from replicator.wire import fields
from replicator.wire.fields import text_of

MAX_IDENTITIES = 10_000
"""Directories in each list of an Origin."""

GRANULARITIES = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which file systems round modification times down: most file systems; NTFS and CIFS; UDF; some NFS servers; exFAT;
ext4 with inodes of 128 bytes; FAT. Other values are rejected: with a granularity of a day, most changes of a time would go unnoticed."""

_ID = fields.integer(-(1 << 200), 1 << 200)  # devices and inodes are only compared for equality


class Origin(NamedTuple):
    """Where the sources are, so that an agent on the same machine can tell whether a target shares files with a source.

    `boot` is the id of the boot of the backend's machine; `sources` are the source directories and `above` the directories above them,
    each as (device, inode). `missing` has (device, inode, names) for each source that does not exist: the nearest directory above it,
    and the names below that directory.
    """

    boot: str = ""
    sources: tuple[tuple[int, int], ...] = ()
    above: tuple[tuple[int, int], ...] = ()
    missing: tuple[tuple[int, int, bytes], ...] = ()

    def value(self) -> list[Any]:
        """Return the origin as JSON values."""
        missing = [[device, inode, text_of(names)] for device, inode, names in self.missing]
        return [self.boot, [*map(list, self.sources)], [*map(list, self.above)], missing]


class OpenTree(NamedTuple):
    """Open the directory `root` as number `tree`; files will belong to `owner` (`user:group`), or the agent's user if it is empty.

    `durable`: acknowledge changes only once they are on disk. `ready`: path of the ready file below the root, or empty; a file there
    that was written in another boot of the machine is removed. `origin`: refuse a root that shares files with a source; agents of
    earlier releases ignore this field. `stamp`: path of the stamp file below the root, or empty; it is replaced after each batch.
    """

    tree: int
    root: bytes
    owner: str = ""
    setid: bool = False
    durable: bool = False
    ready: bytes = b""
    origin: Origin = Origin()
    stamp: bytes = b""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header: dict[str, Any] = {
            "t": "open",
            "tree": self.tree,
            "root": text_of(self.root),
            "owner": self.owner,
            "setid": self.setid,
        }
        if self.durable:
            header["durable"] = True
        if self.ready:
            header["ready"] = text_of(self.ready)
        if self.origin != Origin():
            header["origin"] = self.origin.value()
        if self.stamp:
            header["stamp"] = text_of(self.stamp)
        return header


class Sources(NamedTuple):
    """New locations of the sources; an agent with an open target that shares files with one of them ends."""

    origin: Origin

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "sources", "origin": self.origin.value()}


class Opened(NamedTuple):
    """Answer to OpenTree: numeric ids of the owner of new files (-1: the agent's own user or group), or an error text.

    `identity` identifies the root directory: if another directory takes its place, the text differs. `doubt` is a clause that says who
    else could have put another directory there, or empty. `granularity`: nanoseconds to which the root's file system rounds
    modification times down.
    """

    tree: int
    uid: int
    gid: int
    error: str = ""
    identity: str = ""
    doubt: str = ""
    granularity: int = 1

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header: dict[str, Any] = {
            "t": "opened",
            "tree": self.tree,
            "uid": self.uid,
            "gid": self.gid,
            "error": self.error,
        }
        if self.identity:
            header["identity"] = self.identity
        if self.doubt:
            header["doubt"] = self.doubt
        if self.granularity != 1:
            header["granularity"] = self.granularity
        return header


def parse_open(header: dict[str, Any]) -> OpenTree:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return OpenTree(
        fields.tree(header["tree"]),
        fields.link(header["root"]),
        fields.short(header["owner"]),
        fields.flag(header["setid"]),
        fields.flag(header.get("durable", False)),
        fields.raw(header.get("ready", "")),
        _origin(header["origin"]) if "origin" in header else Origin(),
        fields.raw(header.get("stamp", "")),
    )


def parse_sources(header: dict[str, Any]) -> Sources:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Sources(_origin(header["origin"]))


def parse_opened(header: dict[str, Any]) -> Opened:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Opened(
        fields.tree(header["tree"]),
        fields.owner_id(header["uid"]),
        fields.owner_id(header["gid"]),
        fields.words(header["error"]),
        fields.short(header.get("identity", "")),
        fields.words(header.get("doubt", "")),
        _granularity(header.get("granularity", 1)),
    )


def _granularity(value: Any) -> int:
    if type(value) is not int or value not in GRANULARITIES:
        raise ProtocolError(f"expected one of the granularities {GRANULARITIES}")
    return value


def _origin(value: Any) -> Origin:
    boot, sources, above, missing = fields.array_of(4, value)
    places = (
        fields.row((_ID, _ID, fields.raw), one) for one in fields.array(missing, MAX_IDENTITIES)
    )
    return Origin(
        fields.short(boot),
        _identities(sources),
        _identities(above),
        tuple((device, inode, names) for device, inode, names in places),
    )


def _identities(value: Any) -> tuple[tuple[int, int], ...]:
    pairs = (fields.row((_ID, _ID), one) for one in fields.array(value, MAX_IDENTITIES))
    return tuple((device, inode) for device, inode in pairs)
