"""Everything that the two sides may say.

Each message is a small frozen value with `header()`; `decode` turns a frame's header back into one, or raises
ProtocolError, whatever it was given.
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
"""What every release can do: the two sides cannot work together without."""

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
"""What this side can do. Neighbouring releases work together: a message or field that is not in the first release has a name
here, and is used only if both sides name it; each has a fallback for a peer that does not.

* `after`: `list` may ask for what comes after a path, so that an interrupted listing goes on where it was.
* `alive`: an agent that works on one change for long sends `acks` that answer nothing meanwhile. Without it, it says nothing.
* `boot`: the agent's hello says which boot of its machine it runs in, and `open` names the ready file.
* `durable`: `open` may ask that a change is answered when it is on disk.
* `granularity`: `opened` says how exactly modification times are kept there. Without it, to the nanosecond.
* `identity`: `opened` says which directory the target is, and who could have replaced it. Without it, any directory is used.
* `link`: a file can be given another name (`h`). Without it, the content is sent.
* `sources`: an agent is told when a source appears or comes to be another directory. Without it, an open target is not checked again.
"""

MAX_FEATURES = 64

MAX_IDENTITIES = 10_000
"""Directories in a message."""

MAX_LINES = 5000
"""Lines of a listing in one message; an agent sends 500. What a megabyte of the shortest would cost, all frontends would feel."""


class Hello(NamedTuple):
    """Who speaks: first message of each side."""

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
    """Where the sources are: `boot` of the backend's machine, the directories that are `sources`, and those `above` them.

    Each is (device, inode): on the same kernel they tell whether a target shares files with a source. `missing`: of each source that
    does not exist, the nearest directory above it, and the names below that one.
    """

    boot: str = ""
    sources: tuple[tuple[int, int], ...] = ()
    above: tuple[tuple[int, int], ...] = ()
    missing: tuple[tuple[int, int, bytes], ...] = ()

    def value(self) -> list[Any]:
        """Return it as JSON values."""
        missing = [[device, inode, text_of(names)] for device, inode, names in self.missing]
        return [self.boot, [*map(list, self.sources)], [*map(list, self.above)], missing]


class OpenTree(NamedTuple):
    """From now on `tree` means the directory `root`; `owner` is `user:group`, or empty.

    `durable`: changes are answered when they are on disk. `ready`: path of the ready file below the root, or empty; one that was
    written in another boot of the machine is removed. `origin`: a root that shares files with a source is refused; agents of earlier
    releases do not look at it.
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
    """The sources are elsewhere now: an agent with an open target that shares files with one of them ends."""

    origin: Origin

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "sources", "origin": self.origin.value()}


GRANULARITIES = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which file systems round modification times down: most; NTFS and CIFS; UDF; some NFS servers; exFAT; ext4 with inodes
of 128 bytes; FAT. A frontend cannot name others: with a day, every time would count as equal."""


class Opened(NamedTuple):
    """The answer to OpenTree: numeric ids that files will get (-1: whoever the agent runs as), or why it failed.

    `identity` is a text that another directory in the root's place would not have; `doubt` says, as a clause, who else could have put
    one there. `granularity`: nanoseconds to which the root's file system rounds modification times down.
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
    """Changes, applied in order; the contents of its files follow one another in the payload."""

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
    """The next instructions for a begun file: pairs as in `delta.ops`, literals in the payload.

    `end` says that the file is complete; `cancel` that it will never be.
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
    """List all below a directory in key order, `credit` frames at first, with digests if asked; only what is `after` a path."""

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
    """Send `credit` more frames of a listing; 0: stop it."""

    job: int
    credit: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "more", "job": self.job, "credit": self.credit}


class Listing(NamedTuple):
    """The next lines of a listing, in key order."""

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
    """Numbers of the changes that are done, and (number, reason, detail) of those that are refused.

    `taken` is the bytes of all frames dealt with since the connection began: what was sent beyond it is under way.
    """

    done: tuple[int, ...]
    refused: tuple[tuple[int, str, str], ...]
    taken: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        refused = [list(row) for row in self.refused]
        return {"t": "acks", "done": list(self.done), "refused": refused, "taken": self.taken}


Message = Union[Hello, OpenTree, Opened, Batch, BeginFile, Data, ListTree, More, Listing, Acks]


def _listed_row(line: Listed) -> list[Any]:
    path, entry, uid, gid = line
    kind, mode, size, mtime_ns, link, digest = entry
    return [text_of(path), kind, mode, size, mtime_ns, text_of(link), digest.hex(), uid, gid]


def _parse_listed(row: Any) -> Listed:
    """Check one of the many lines that a listing has: `fields.row` would take a third longer."""
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
_ID = fields.integer(-(1 << 200), 1 << 200)  # compared with others, and nothing else
_FEATURE = fields.sentence(64)


def _reason(value: Any) -> str:
    return value if type(value) is str and value in REASONS else FAILED


def _hello(h: dict[str, Any]) -> Hello:
    names: Sequence[str] = [_FEATURE(name) for name in fields.array(h["features"], MAX_FEATURES)]
    boot = _SHORT(h.get("boot", ""))  # not for people, and checked where it is used
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
    """Return the message that a frame header holds.

    Raises:
        ProtocolError: whatever is wrong with it.
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
