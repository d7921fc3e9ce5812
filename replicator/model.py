"""The words of the project: paths, entries, stamps.

A **path** is bytes, relative to a tree's root, `/`-separated. The root itself is the empty path. Paths sort by their
**key**, in which `/` is written as NUL: NUL is the one byte no name can hold, so key order is exactly the order of a
depth-first walk with sorted names ("a", "a/b", "a.x"), the same on both hosts, and all that lies below a directory
is one contiguous range.
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
"""Bytes in one component: NAME_MAX of ext4, XFS and tmpfs."""

MAX_DEPTH = 200
"""Directories above a path: a walk holds one descriptor for each, well below the usual limit of 1,024."""

MAX_TREES = 1023
"""Trees at a time, and the highest number that one has on the wire."""

_PART = rb"(?!\.\.?(?:/|\Z))[^/\0]{1,%d}" % MAX_NAME
_PLAIN = re.compile(rb"%b(?:/%b){0,%d}" % (_PART, _PART, MAX_DEPTH - 1))
"""A plain path. Each line of a listing is checked: a regular expression takes a third of the time of a loop."""

TEMPORARY_PREFIX = b".replicator-"
"""Our temporaries are `.replicator-<agent>-<n>.tmp` beside their target: a dot-file, so that no web server serves it,
with a name of fixed length, so that a 255-byte target name is no obstacle."""

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
    """What must be equal for a file to be believed unchanged without reading it (git's index does the same).

    Sizes in bytes, times in nanoseconds. ctime cannot be set by a program, so it betrays a restored mtime.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Listed(NamedTuple):
    """One line of a tree's listing: a path, what is there, and who owns it (numeric ids of that host)."""

    path: bytes
    entry: Entry
    uid: int
    gid: int


class Unlisted(NamedTuple):
    """A directory that could not be listed, and why: nothing is known of what lies below it."""

    path: bytes
    reason: str


class Hinted(enum.Enum):
    """What kind of second look a hint asks for."""

    CHANGED = "changed"  # look now: created complete, attributes changed, deleted, moved in or out
    WRITTEN = "written"  # content is being written; wait for CLOSED
    TOUCHED = (
        "touched"  # look now, or after what may be new content: attributes changed, or deleted
    )
    CLOSED = "closed"  # a writer closed the file
    CONTENTS = (
        "contents"  # a directory's own times changed because names in it did: look a little later
    )
    MOVED = "moved"  # renamed inside the tree, `path` to `target`
    SUBTREE = "subtree"  # all below `path` must be walked


class Hint(NamedTuple):
    """Something may differ at a path. Hints are never believed, only followed up."""

    kind: Hinted
    path: bytes
    target: bytes = b""  # of MOVED
    is_directory: bool = False  # of MOVED: a directory was renamed


def check_path(path: bytes) -> bytes:
    """Return `path` unchanged if it is a plain relative path below the root.

    Raises:
        PathRefused: if it is empty, absolute, too long, nested too deep, holds a NUL, or has a `.`, `..` or empty part.
    """
    if len(path) > MAX_PATH or not _PLAIN.fullmatch(path):
        fault = "nested too deep" if path.count(b"/") >= MAX_DEPTH else "not a path below the root"
        raise PathRefused(f"{fault}: {printable(path[:200])}")
    return path


def key(path: bytes) -> bytes:
    """Return the sort key of a path (see the module's story)."""
    return path.replace(b"/", b"\0")


def parent(path: bytes) -> bytes:
    """Return the directory that holds `path`; the root's parent is the root."""
    return path.rpartition(b"/")[0]


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yield the directories above `path`, the nearest first, without the root."""
    above = parent(path)
    while above:
        yield above
        above = parent(above)


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `directory`."""
    return directory + b"/" + name if directory else name


def stays_inside(path: bytes, link: bytes) -> bool:
    """Return True if a symlink at `path` cannot lead out of the tree, as long as no other symlink in it does.

    A `..` after a name counts as leading out: the name may be a symlink to a directory further up.
    """
    if link.startswith(b"/"):
        return False
    parts = [part for part in link.split(b"/") if part not in (b"", b".")]
    climbed = next((i for i, part in enumerate(parts) if part != b".."), len(parts))
    return climbed <= path.count(b"/") and b".." not in parts[climbed:]


def admits(policy: str, path: bytes, link: bytes) -> bool:
    """Return True if a policy (`all`, `inside` the tree, or `none`) admits a symlink at `path` that leads to `link`."""
    return policy == "all" or (policy == "inside" and stays_inside(path, link))


def too_deep(directory: bytes) -> bool:
    """Return True if what a directory holds may be too deep or too long to be a path: then it is not entered."""
    return directory.count(b"/") + 1 >= MAX_DEPTH or len(directory) >= MAX_PATH - MAX_NAME


def is_below(path: bytes, directory: bytes) -> bool:
    """Return True if `path` lies strictly below `directory` (everything but the root lies below the root)."""
    if not directory:
        return bool(path)
    return path.startswith(directory + b"/")


def last_below(directory: bytes) -> bytes:
    """Return a path that sorts after everything below `directory`, and before whatever follows it."""
    return join(directory, b"\xff" * (MAX_NAME + 1))


def rebase(path: bytes, source: bytes, target: bytes) -> bytes:
    """Return where `path`, at or below `source`, ends up when `source` is renamed to `target`."""
    return target + path[len(source) :]


def renamed(path: bytes, source: bytes, target: bytes) -> bytes:
    """Return where `path` is after `source` was renamed to `target`: where it was, unless it lies at or below `source`."""
    inside = path == source or is_below(path, source)
    return rebase(path, source, target) if inside else path


def is_temporary(name: bytes) -> bool:
    """Return True for the name of one of our temporaries; such names are never listed nor replicated."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


def printable(path: bytes) -> str:
    """Return a path as one safe line of text: control bytes, quotes and invalid UTF-8 are escaped.

    A name with a newline or a terminal escape must not forge a log line (CWE-117).
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int, *, left_out: int = 0) -> str:
    """Return a text of at most about `most` characters: a third from its beginning, two thirds from its end.

    Beginnings say what failed, ends say why. What is left out between them is counted in the text.

    Args:
        text: the text.
        most: characters that are kept.
        left_out: characters that are missing in its middle already.
    """
    over = max(len(text) - most, 0) + left_out
    if not over:
        return text
    beginning = most // 3
    end = text[beginning:][beginning - most :]
    return f"{text[:beginning]} [... {over} characters left out ...] {end}"
