"""A change: what shall be at one path of a frontend, and the reasons for which an agent may refuse it.

A change travels as one row of a batch: a tag, its number, the tree, the path, and the rest of its fields. Numbers are
unique over the whole fleet, so that one encoded frame serves every frontend; every answer carries the number.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from replicator.errors import ProtocolError
from replicator.wire import fields
from replicator.wire.fields import text_of

# Why a change was refused.
BASE_MISMATCH = (
    "base_mismatch"  # what is there is not what the change builds on: send the whole file
)
DIGEST_MISMATCH = (
    "digest_mismatch"  # what arrived is not what was announced: the source changed meanwhile
)
NO_SPACE = "no_space"
DENIED = "denied"
PATH_REFUSED = "path_refused"
VANISHED = "vanished"
NOT_EMPTY = "not_empty"
ROOT_GONE = "root_gone"
FAILED = "failed"
REASONS = frozenset(
    (
        BASE_MISMATCH,
        DIGEST_MISMATCH,
        NO_SPACE,
        DENIED,
        PATH_REFUSED,
        VANISHED,
        NOT_EMPTY,
        ROOT_GONE,
        FAILED,
    )
)


class PutFile(NamedTuple):
    """The path shall be a file with the `size` bytes that stand in the payload (or follow as Data)."""

    number: int
    tree: int
    path: bytes
    mode: int
    size: int
    mtime_ns: int
    digest: bytes


class MakeDirectory(NamedTuple):
    """The path shall be a directory with this mode and time; what it holds stays."""

    number: int
    tree: int
    path: bytes
    mode: int
    mtime_ns: int


class MakeSymlink(NamedTuple):
    """The path shall be a symlink to `link`, verbatim."""

    number: int
    tree: int
    path: bytes
    mtime_ns: int
    link: bytes


class SetAttributes(NamedTuple):
    """The file keeps its content and gets this mode and time.

    Applied only if it has `size` bytes, and its digest is `digest` or (if that is empty) its time `old_mtime_ns`.
    """

    number: int
    tree: int
    path: bytes
    mode: int
    size: int
    mtime_ns: int
    old_mtime_ns: int
    digest: bytes


class Delete(NamedTuple):
    """Nothing shall be at the path; a directory goes only if it is empty."""

    number: int
    tree: int
    path: bytes


class Move(NamedTuple):
    """What is at `path`, with all below it, shall be at `target`."""

    number: int
    tree: int
    path: bytes
    target: bytes


class Link(NamedTuple):
    """The path shall be another name, or a copy, of the file at `source`, which has this mode, size and time.

    Needs the feature `link`.
    """

    number: int
    tree: int
    path: bytes
    mode: int
    size: int
    mtime_ns: int
    source: bytes
    copy: bool


Change = Union[PutFile, MakeDirectory, MakeSymlink, SetAttributes, Delete, Move, Link]

_HEAD = (fields.number, fields.tree, fields.path)
_KINDS: dict[str, tuple[Any, tuple[fields.Check, ...]]] = {
    "f": (PutFile, (*_HEAD, fields.mode, fields.size, fields.time_ns, fields.digest)),
    "d": (MakeDirectory, (*_HEAD, fields.mode, fields.time_ns)),
    "l": (MakeSymlink, (*_HEAD, fields.time_ns, fields.link)),
    "a": (
        SetAttributes,
        (*_HEAD, fields.mode, fields.size, fields.time_ns, fields.time_ns, fields.digest_or_none),
    ),
    "x": (Delete, _HEAD),
    "m": (Move, (*_HEAD, fields.path)),
    "h": (
        Link,
        (*_HEAD, fields.mode, fields.size, fields.time_ns, fields.path, fields.flag),
    ),
}
_TAGS = {cls: tag for tag, (cls, _) in _KINDS.items()}
_HEX = frozenset(("digest",))


def change_row(change: Change) -> list[Any]:
    """Return a change as a row of JSON values."""
    row: list[Any] = [_TAGS[type(change)]]
    for name, value in zip(change._fields, change):  # no strict= on Python 3.9
        if isinstance(value, bytes):
            row.append(value.hex() if name in _HEX else text_of(value))
        else:
            row.append(value)
    return row


def parse_change(row: Any) -> Change:
    """Return the change that a row describes, checked field by field."""
    if type(row) is not list or not row or type(row[0]) is not str or row[0] not in _KINDS:
        raise ProtocolError("unknown change")
    cls, checks = _KINDS[row[0]]
    change: Change = cls(*fields.row(checks, row[1:]))
    return change
