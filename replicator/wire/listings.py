"""Messages about the listing of a target."""

from __future__ import annotations

from typing import Any, NamedTuple

from replicator.errors import ProtocolError
from replicator.model import Entry, Listed, Unlisted
from replicator.wire import fields
from replicator.wire.fields import text_of

MAX_LINES = 5000
"""Lines of a listing in one message. An agent sends 500; checking 1 MiB of the shortest lines at once would delay all frontends."""


class ListTree(NamedTuple):
    """Request a listing of everything below a directory, in key order.

    `digest`: hash the files. `credit`: frames that may be sent before the first More. `after`: list only paths that sort after this
    one; empty: all. `rate`: bytes per second that may be hashed; 0: any number. `walk`: job of a DigestTree; a directory whose digest
    was sent for it, and which was in no Descend of it, is listed with this digest, and nothing below it is listed; 0: everything is.
    """

    job: int
    tree: int
    below: bytes
    digest: bool
    credit: int
    after: bytes = b""
    rate: int = 0
    walk: int = 0

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
        if self.after:
            header["after"] = text_of(self.after)
        if self.rate:
            header["rate"] = self.rate
        if self.walk:
            header["walk"] = self.walk
        return header


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


def parse_list(header: dict[str, Any]) -> ListTree:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return ListTree(
        fields.number(header["job"]),
        fields.tree(header["tree"]),
        fields.path_or_root(header["below"]),
        fields.flag(header["digest"]),
        fields.number(header["credit"]),
        fields.path_or_root(header.get("after", "")),
        fields.number(header.get("rate", 0)),
        fields.number(header.get("walk", 0)),
    )


def parse_more(header: dict[str, Any]) -> More:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return More(fields.number(header["job"]), fields.number(header["credit"]))


def parse_listing(header: dict[str, Any]) -> Listing:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Listing(
        fields.number(header["job"]),
        tuple(map(_parse_listed, fields.array(header["lines"], MAX_LINES))),
        tuple(
            Unlisted(*fields.row((fields.path_or_root, fields.words), one))
            for one in fields.array(header["unlisted"], MAX_LINES)
        ),
        fields.flag(header["end"]),
    )


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
        raise ProtocolError(f"{fields.words(where)}: {error}") from None
