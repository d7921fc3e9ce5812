"""The messages of the wire protocol.

Each message is a NamedTuple whose `header()` returns the header of its frame. `decode` turns a header back into a message, or
raises ProtocolError.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence, Union

from replicator.errors import ProtocolError
from replicator.model import Entry, Listed, Unlisted
from replicator.wire import fields
from replicator.wire.changes import FAILED, REASONS, Change, PutFile, change_row, parse_change
from replicator.wire.fields import text_of

VERSION = 1

REQUIRED = ("delta", "digest", "move")
"""Features of every release: the two sides cannot work together without them."""

FEATURES = (
    *REQUIRED,
    "after",
    "alive",
    "boot",
    "durable",
    "granularity",
    "identity",
    "link",
    "sources",
)
"""Features of this side. Successive releases work together: a message or field that the first release lacks has a name here, and is
used only if both sides list that name; each has a fallback for a peer that does not.

* `after`: `list` may ask for the paths after a given one, to continue an interrupted listing.
* `alive`: an agent that is busy with one change for long sends empty `acks` meanwhile. Without it, the agent is silent.
* `boot`: the agent's `hello` carries the id of its machine's boot, and `open` names the ready file.
* `durable`: `open` may ask for changes to be acknowledged only once they are on disk.
* `granularity`: `opened` carries the granularity of modification times. Without it, 1 ns is assumed.
* `identity`: `opened` identifies the target directory, and says who could have replaced it. Without it, any directory is used.
* `link`: a file can be hard-linked or copied on the frontend (`h`). Without it, the content is sent.
* `sources`: the backend tells the agent when a source appears or becomes another directory. Without it, an open target is not checked
  again.
"""

MAX_FEATURES = 64

MAX_IDENTITIES = 10_000
"""Directories in each list of an Origin."""

MAX_LINES = 5000
"""Lines of a listing in one message. An agent sends 500; checking 1 MiB of the shortest lines at once would delay all frontends."""


class Hello(NamedTuple):
    """First message of each side: wire version, features, a description of the sender, and the id of the agent's boot."""

    version: int
    features: tuple[str, ...]
    about: str = ""
    boot: str = ""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header = {
            "t": "hello",
            "version": self.version,
            "features": list(self.features),
            "about": self.about,
        }
        return {**header, "boot": self.boot} if self.boot else header


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
    earlier releases ignore this field.
    """

    tree: int
    root: bytes
    owner: str = ""
    setid: bool = False
    durable: bool = False
    ready: bytes = b""
    origin: Origin = Origin()

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
        return header


class Sources(NamedTuple):
    """New locations of the sources; an agent with an open target that shares files with one of them ends."""

    origin: Origin

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "sources", "origin": self.origin.value()}


GRANULARITIES = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which file systems round modification times down: most file systems; NTFS and CIFS; UDF; some NFS servers; exFAT;
ext4 with inodes of 128 bytes; FAT. Other values are rejected: with a granularity of a day, most changes of a time would go unnoticed."""


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


class Batch(NamedTuple):
    """Changes, applied in order; the payload holds the contents of the files, one after the other."""

    changes: tuple[Change, ...]

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "batch", "changes": [change_row(change) for change in self.changes]}


class BeginFile(NamedTuple):
    """A file too large for one frame; its content follows as Data."""

    put: PutFile
    delta: bool

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "file", "put": change_row(self.put), "delta": self.delta}


class Data(NamedTuple):
    """The next instructions for a file started by BeginFile: pairs as in `delta.ops`, with the literals in the payload.

    `end`: the file is complete. `cancel`: the backend abandons it.
    """

    number: int
    pairs: list[list[int]]
    end: bool = False
    cancel: bool = False

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "data",
            "n": self.number,
            "ops": self.pairs,
            "end": self.end,
            "cancel": self.cancel,
        }


class ListTree(NamedTuple):
    """Request a listing of everything below a directory, in key order.

    `digest`: hash the files. `credit`: frames that may be sent before the first More. `after`: list only paths that sort after this
    one; empty: all.
    """

    job: int
    tree: int
    below: bytes
    digest: bool
    credit: int
    after: bytes = b""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header: dict[str, Any] = {
            "t": "list",
            "job": self.job,
            "tree": self.tree,
            "below": text_of(self.below),
            "digest": self.digest,
            "credit": self.credit,
        }
        return {**header, "after": text_of(self.after)} if self.after else header


class More(NamedTuple):
    """Grant `credit` more frames of a listing; 0 stops it."""

    job: int
    credit: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "more", "job": self.job, "credit": self.credit}


class Listing(NamedTuple):
    """The next lines of a listing, in key order; `end` marks the last frame."""

    job: int
    lines: tuple[Listed, ...]
    unlisted: tuple[Unlisted, ...]
    end: bool

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "listing",
            "job": self.job,
            "lines": [_listed_row(line) for line in self.lines],
            "unlisted": [[text_of(path), reason] for path, reason in self.unlisted],
            "end": self.end,
        }


class Acks(NamedTuple):
    """Numbers of applied changes, and (number, reason, detail) of refused ones.

    `taken`: total bytes of the frames that the agent has handled since the connection began; bytes sent beyond that are in transit.
    """

    done: tuple[int, ...]
    refused: tuple[tuple[int, str, str], ...]
    taken: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        refused = [list(row) for row in self.refused]
        return {"t": "acks", "done": list(self.done), "refused": refused, "taken": self.taken}


Message = Union[
    Hello, Sources, OpenTree, Opened, Batch, BeginFile, Data, ListTree, More, Listing, Acks
]


def _listed_row(line: Listed) -> list[Any]:
    path, entry, uid, gid = line
    kind, mode, size, mtime_ns, link, digest = entry
    return [text_of(path), kind, mode, size, mtime_ns, text_of(link), digest.hex(), uid, gid]


def _parse_listed(row: Any) -> Listed:
    """Check one line of a listing. Listings have many lines, and `fields.row` would take a third longer."""
    path, kind, mode, size, mtime_ns, link, digest, uid, gid = fields.array_of(9, row)
    try:
        entry = Entry(
            fields.kind(kind),
            fields.mode(mode),
            fields.any_size(size),
            fields.time_ns(mtime_ns),
            fields.raw(link),
            fields.digest_or_none(digest),
        )
        return Listed(fields.path(path), entry, fields.owner_id(uid), fields.owner_id(gid))
    except ProtocolError as error:
        where = path[:1000] if type(path) is str else "a line without a path"
        raise ProtocolError(f"{fields.sentence(1000)(where)}: {error}") from None


_SHORT = fields.text(1000)
_WORDS = fields.sentence(1000)
_ID = fields.integer(-(1 << 200), 1 << 200)  # devices and inodes are only compared for equality
_FEATURE = fields.sentence(64)


def _reason(value: Any) -> str:
    return value if type(value) is str and value in REASONS else FAILED


def _hello(h: dict[str, Any]) -> Hello:
    names: Sequence[str] = [_FEATURE(name) for name in fields.array(h["features"], MAX_FEATURES)]
    boot = _SHORT(h.get("boot", ""))  # not shown to the operator, so not escaped
    return Hello(fields.number(h["version"]), tuple(names), _WORDS(h["about"]), boot)


def _begin(h: dict[str, Any]) -> BeginFile:
    put = parse_change(h["put"])
    if not isinstance(put, PutFile):
        raise ProtocolError("expected a file")
    return BeginFile(put, fields.flag(h["delta"]))


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
        _SHORT(boot),
        _identities(sources),
        _identities(above),
        tuple((device, inode, names) for device, inode, names in places),
    )


def _identities(value: Any) -> tuple[tuple[int, int], ...]:
    pairs = (fields.row((_ID, _ID), one) for one in fields.array(value, MAX_IDENTITIES))
    return tuple((device, inode) for device, inode in pairs)


_DECODERS: dict[str, Any] = {
    "hello": _hello,
    "open": lambda h: OpenTree(
        fields.tree(h["tree"]),
        fields.link(h["root"]),
        _SHORT(h["owner"]),
        fields.flag(h["setid"]),
        fields.flag(h.get("durable", False)),
        fields.raw(h.get("ready", "")),
        _origin(h["origin"]) if "origin" in h else Origin(),
    ),
    "sources": lambda h: Sources(_origin(h["origin"])),
    "opened": lambda h: Opened(
        fields.tree(h["tree"]),
        fields.owner_id(h["uid"]),
        fields.owner_id(h["gid"]),
        _WORDS(h["error"]),
        _SHORT(h.get("identity", "")),
        _WORDS(h.get("doubt", "")),
        _granularity(h.get("granularity", 1)),
    ),
    "batch": lambda h: Batch(tuple(map(parse_change, fields.array(h["changes"])))),
    "file": _begin,
    "data": lambda h: Data(
        fields.number(h["n"]),
        fields.array(h["ops"]),
        fields.flag(h["end"]),
        fields.flag(h["cancel"]),
    ),
    "list": lambda h: ListTree(
        fields.number(h["job"]),
        fields.tree(h["tree"]),
        fields.path_or_root(h["below"]),
        fields.flag(h["digest"]),
        fields.number(h["credit"]),
        fields.path_or_root(h.get("after", "")),
    ),
    "more": lambda h: More(fields.number(h["job"]), fields.number(h["credit"])),
    "listing": lambda h: Listing(
        fields.number(h["job"]),
        tuple(map(_parse_listed, fields.array(h["lines"], MAX_LINES))),
        tuple(
            Unlisted(*fields.row((fields.path_or_root, _WORDS), u))
            for u in fields.array(h["unlisted"], MAX_LINES)
        ),
        fields.flag(h["end"]),
    ),
    "acks": lambda h: Acks(
        tuple(map(fields.number, fields.array(h["done"]))),
        tuple(
            tuple(fields.row((fields.number, _reason, _WORDS), r))
            for r in fields.array(h["refused"])
        ),
        fields.number(h["taken"]),
    ),
}


def decode(header: dict[str, Any]) -> Message:
    """Return the message in a frame header.

    Raises:
        ProtocolError: the header is not a valid message.
    """
    kind = header.get("t")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise ProtocolError("unknown message")
    try:
        message: Message = decoder(header)
    except KeyError as error:
        raise ProtocolError(f"message {kind} lacks {error}") from None
    return message
