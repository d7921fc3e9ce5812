"""Basic types and functions: paths, entries, stamps and hints.

A **path** is a byte string relative to a tree's root, with `/` between its names. The root itself is the empty path. Paths sort by
their **key**, in which NUL replaces `/`. No name can contain a NUL, so key order is the order of a depth-first walk with sorted names
("a", "a/b", "a.x"). It is the same on both hosts, and everything below a directory is one contiguous range.
"""

from __future__ import annotations

import enum
import re
from typing import Iterator, NamedTuple

from replicator.errors import PathRefused

FILE = "f"
DIRECTORY = "d"
SYMLINK = "l"
KINDS = frozenset((FILE, DIRECTORY, SYMLINK))

ROOT = b""
"""The path of a tree's root."""

MAX_PATH = 4096
"""Bytes in a path: PATH_MAX on Linux."""

MAX_NAME = 255
"""Bytes in one name of a path: NAME_MAX of ext4, XFS and tmpfs."""

MAX_DEPTH = 200
"""Names in a path: a walk holds a descriptor for each directory on it, well below the usual limit of 1,024."""

MAX_TREES = 1023
"""Highest number of a tree on the wire, and the most trees that may be open at a time. A configuration may have half as many,
because a reload may replace all of them."""

_PART = rb"(?!\.\.?(?:/|\Z))[^/\0]{1,%d}" % MAX_NAME
_PLAIN = re.compile(rb"%b(?:/%b){0,%d}" % (_PART, _PART, MAX_DEPTH - 1))
"""A plain path. Each line of a listing is checked, and a regular expression takes a third of the time of a loop."""

TEMPORARY_PREFIX = b".replicator-"
"""Agents' temporary files are named `.replicator-<session>-<n>.tmp` and lie beside their target. Web servers commonly do not serve
dot-files; and the name does not contain the target's, which may already have 255 bytes."""

TEMPORARY_SUFFIX = b".tmp"


class Entry(NamedTuple):
    """What is at a path.

    Attributes:
        kind: FILE, DIRECTORY or SYMLINK.
        mode: permission bits (0 for a symlink, which has none).
        size: bytes of content; 0 unless a file.
        mtime_ns: modification time in nanoseconds since the epoch.
        link: target of a symlink, verbatim; empty otherwise.
        digest: SHA-256 of the content, 32 bytes; empty unless a file whose content is known.
    """

    kind: str
    mode: int
    size: int
    mtime_ns: int
    link: bytes = b""
    digest: bytes = b""


class Stamp(NamedTuple):
    """A file whose stamp is the same as before counts as unchanged, and is not read (as in git's index).

    Size in bytes, times in nanoseconds since the epoch. Programs cannot set ctime, so it changes even if mtime is set back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Listed(NamedTuple):
    """One line of a tree's listing: a path, what is there, and the owner (numeric ids of the listed host)."""

    path: bytes
    entry: Entry
    uid: int
    gid: int


class Unlisted(NamedTuple):
    """A path that could not be listed, and why: what is at the path or below it may be unknown."""

    path: bytes
    reason: str


class Hinted(enum.Enum):
    """What a hint reports, and when its path must be checked."""

    CHANGED = "changed"  # created complete, attributes changed, deleted, moved in or out: check now
    WRITTEN = "written"  # content is being written: wait for CLOSED
    TOUCHED = "touched"  # attributes changed, or deleted: check now, after paths with possibly new content
    CLOSED = "closed"  # a writer closed the file
    CONTENTS = (
        "contents"  # a directory's times changed because names in it did: check a little later
    )
    MOVED = "moved"  # renamed inside the tree, `path` to `target`
    SUBTREE = "subtree"  # everything below `path` must be scanned


class Hint(NamedTuple):
    """A report that something may have changed at a path. It only causes a check of the path; its content is never relied on."""

    kind: Hinted
    path: bytes
    target: bytes = b""  # of MOVED
    is_directory: bool = False  # of MOVED: a directory was renamed


def check_path(path: bytes) -> bytes:
    """Return `path` unchanged if it is a plain relative path below the root.

    Raises:
        PathRefused: it is empty, absolute, too long, nested too deep, contains a NUL, or has a `.`, `..` or empty name.
    """
    if not is_path(path):
        fault = "nested too deep" if path.count(b"/") >= MAX_DEPTH else "not a path below the root"
        raise PathRefused(f"{fault}: {printable(path[:200])}")
    return path


def is_path(path: bytes) -> bool:
    """Return True if `check_path` accepts a path."""
    return len(path) <= MAX_PATH and _PLAIN.fullmatch(path) is not None


def key(path: bytes) -> bytes:
    """Return the sort key of a path; see the module's docstring."""
    return path.replace(b"/", b"\0")


def parent(path: bytes) -> bytes:
    """Return the directory that contains `path`; the root's parent is the root."""
    return path.rpartition(b"/")[0]


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yield the directories above `path`, nearest first, except the root."""
    above = parent(path)
    while above:
        yield above
        above = parent(above)


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `directory`."""
    return directory + b"/" + name if directory else name


def stays_inside(path: bytes, link: bytes) -> bool:
    """Return True if a symlink from `path` to `link` cannot lead out of the tree, provided that no other symlink in the tree does.

    A `..` after a name counts as leading out, because the name may be a symlink to a directory further up.
    """
    if link.startswith(b"/"):
        return False
    parts = [part for part in link.split(b"/") if part not in (b"", b".")]
    climbed = next((i for i, part in enumerate(parts) if part != b".."), len(parts))
    return climbed <= path.count(b"/") and b".." not in parts[climbed:]


def admits(policy: str, path: bytes, link: bytes) -> bool:
    """Return True if a policy (`all`, `inside` or `none`) admits a symlink from `path` to `link`; `inside`: see `stays_inside`."""
    return policy == "all" or (policy == "inside" and stays_inside(path, link))


def too_deep(directory: bytes) -> bool:
    """Return True if paths directly below a directory may exceed MAX_DEPTH or MAX_PATH; such a directory is not listed."""
    return directory.count(b"/") + 1 >= MAX_DEPTH or len(directory) >= MAX_PATH - MAX_NAME


def is_below(path: bytes, directory: bytes) -> bool:
    """Return True if `path` lies strictly below `directory` (everything but the root lies below the root)."""
    if not directory:
        return bool(path)
    return path.startswith(directory + b"/")


def is_within(path: bytes, directory: bytes) -> bool:
    """Return True if `path` is `directory`, or lies below it."""
    return path == directory or is_below(path, directory)


def overlap(one: bytes, other: bytes) -> bool:
    """Return True if one of two paths is the other, or lies below it."""
    return is_within(one, other) or is_below(other, one)


def last_below(directory: bytes) -> bytes:
    """Return a path that sorts after everything below `directory`, and before all paths that follow the directory's content."""
    return join(directory, b"\xff" * (MAX_NAME + 1))


def rebase(path: bytes, source: bytes, target: bytes) -> bytes:
    """Return the new path of `path`, which is `source` or below it, after `source` was renamed to `target`."""
    return target + path[len(source) :]


def renamed(path: bytes, source: bytes, target: bytes) -> bytes:
    """Return the new path of any `path` after `source` was renamed to `target`; it is unchanged outside of `source`."""
    return rebase(path, source, target) if is_within(path, source) else path


def is_temporary(name: bytes) -> bool:
    """Return True for the name of an agent's temporary file; such files are neither listed nor replicated."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


def printable(path: bytes) -> str:
    """Return a path as one line of printable text: control characters and invalid UTF-8 are escaped.

    Otherwise a name with a newline or a terminal escape sequence could forge a log line (CWE-117).
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int, *, left_out: int = 0) -> str:
    """Shorten a text in its middle: keep `most` characters, a third from its beginning and two thirds from its end.

    The beginning of an error text usually says what failed, and its end why. A note of how many characters are left out replaces the
    middle.

    Args:
        text: the text.
        most: number of characters to keep.
        left_out: number of characters that the caller has already left out of the middle.
    """
    over = max(len(text) - most, 0) + left_out
    if not over:
        return text
    beginning = most // 3
    end = text[beginning:][beginning - most :]
    return f"{text[:beginning]} [... {over} characters left out ...] {end}"
