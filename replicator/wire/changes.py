"""Changes to paths of a frontend, and the reasons for which an agent may refuse one.

A change is sent as one row of a batch: a tag, its number, the tree, the path, and its other fields. Numbers are unique over the
whole fleet, so that one encoded frame serves all frontends; the answer to a change carries its number.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from replicator.errors import ProtocolError
from replicator.wire import fields
from replicator.wire.fields import text_of

# Why a change was refused.
BASE_MISMATCH = "base_mismatch"  # the file at the path is not the one that the change builds on
DIGEST_MISMATCH = (
    "digest_mismatch"  # the content is not the announced one: the source changed while it was sent
)
NO_SPACE = "no_space"  # file system full, quota used up, or file too large
DENIED = "denied"  # the agent's user lacks the permission
PATH_REFUSED = "path_refused"  # a symlink or file is in the way, or the path is not allowed
VANISHED = "vanished"  # the path, or its directory, does not exist
NOT_EMPTY = "not_empty"  # the directory to be removed or replaced has content
ROOT_GONE = "root_gone"  # the target root was moved, removed or replaced
FAILED = "failed"  # anything else
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
    """Replace what is at the path by a file; its `size` bytes are in the payload, or follow as Data."""

    number: int
    tree: int
    path: bytes
    mode: int
    size: int
    mtime_ns: int
    digest: bytes


class MakeDirectory(NamedTuple):
    """Make the path a directory with this mode and time; the content of an existing directory stays."""

    number: int
    tree: int
    path: bytes
    mode: int
    mtime_ns: int


class MakeSymlink(NamedTuple):
    """Replace what is at the path by a symlink with the target `link`, verbatim."""

    number: int
    tree: int
    path: bytes
    mtime_ns: int
    link: bytes


class SetAttributes(NamedTuple):
    """Set the mode and time of a file, and keep its content.

    Applied only if the file has `size` bytes and either the digest `digest` or, if `digest` is empty, the time `old_mtime_ns`.
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
    """Remove what is at the path; a directory is removed only if it is empty."""

    number: int
    tree: int
    path: bytes


class Move(NamedTuple):
    """Rename `path`, with everything below it, to `target`."""

    number: int
    tree: int
    path: bytes
    target: bytes


class Link(NamedTuple):
    """Make the path a hard link to, or a copy of, the file at `source`, which must have this mode, size and time.

    Requires the feature `link`.
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
    """Return the change in a row, after checking each field.

    Raises:
        ProtocolError: the row is not a valid change.
    """
    if type(row) is not list or not row or type(row[0]) is not str or row[0] not in _KINDS:
        raise ProtocolError("unknown change")
    cls, checks = _KINDS[row[0]]
    change: Change = cls(*fields.row(checks, row[1:]))
    return change
