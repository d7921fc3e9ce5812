"""Open the directory that a tree is written to, and find out who shall own what is in it."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import Callable, Optional

from replicator.agent.claim import Claim
from replicator.agent.fence import Fences
from replicator.agent.store import Owner, Store
from replicator.errors import PathRefused
from replicator.files.confined import Confined
from replicator.model import check_path, parent
from replicator.wire.messages import OpenTree

MAX_ID = (1 << 32) - 2
"""One more would be -1 to the kernel, which leaves the owner as it is."""

_known: dict[tuple[str, str], int] = {}


def open_tree(request: OpenTree, *, session: bytes, jail: Optional[bytes], fences: Fences) -> Store:
    """Return the store for a tree; its root is made if its parent exists.

    With a jail, a root that already lies inside it stays as it is; any other is taken relative to it, as in a chroot,
    with its parents made as needed. Either way, no symlink is followed below the jail.

    Raises:
        PathRefused: the root is no absolute path, or is the file system's root.
        OSError: it cannot be opened or made.
        LookupError: the owner is unknown here.
    """
    if not request.root.startswith(b"/") or b"\0" in request.root:
        raise PathRefused("the target is no absolute path")
    root = os.path.normpath(request.root).lstrip(b"/")
    check_path(root)
    place = b"/" + root
    if jail is not None:
        jail = os.path.realpath(jail)
        place = jail.rstrip(b"/") + b"/" + _inside(jail, place)
    tree = _open_free(place) if jail is None else _open_jailed(jail, _inside(jail, place))
    try:
        owner = _owner(request.owner)
        claim = Claim(tree.root_fd, fences.of(tree.root_fd), place)
        return Store(tree, owner, setid=request.setid, session=session, claim=claim)
    except BaseException:
        tree.close()
        raise


def _open_free(root: bytes) -> Confined:
    _mkdir(root, None)
    return Confined.open(root, unread=True)


def _inside(jail: bytes, root: bytes) -> bytes:
    """Return a root as a path relative to the jail, in which it lies already or is put."""
    inside = root[len(jail) :] if (root + b"/").startswith(jail.rstrip(b"/") + b"/") else root
    return inside.strip(b"/")


def _open_jailed(jail: bytes, path: bytes) -> Confined:
    outer = Confined.open(jail, unread=True)
    try:
        _make(outer, path)
        return Confined(os.dup(outer.directory(path)), unread=True)
    finally:
        outer.close()


def _make(tree: Confined, path: bytes) -> None:
    """Make the directory `path` and its parents."""
    if path:
        _make(tree, parent(path))
        _mkdir(path.rpartition(b"/")[2], tree.directory(parent(path)))


def _mkdir(name: bytes, at: Optional[int]) -> None:
    """Make a directory that everybody may read, unless it is there: its mode is no change that a backend sends."""
    before = os.umask(0o022)  # ours is for temporaries
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=at)
    finally:
        os.umask(before)


def remember_names() -> None:
    """Read who has which number, for an agent that soon cannot read /etc any more."""
    for kind, file in (("user", "/etc/passwd"), ("group", "/etc/group")):
        with suppress(OSError), open(file, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                name, _, number = line.split(":")[:3] if line.count(":") >= 2 else ("", "", "")
                number = number.strip()
                if _is_id(number):
                    _known.setdefault((kind, name), int(number))
    with suppress(KeyError):
        pwd.getpwuid(
            os.geteuid()
        )  # loads whatever else the C library asks, such as a directory service


def _is_id(text: str) -> bool:
    """Return True for the digits of a number that the kernel takes for a user or group."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID


def _owner(text: str) -> Owner:
    """Return the ids of `user:group`; a name that does not exist is an error, never root."""
    user, _, group = text.partition(":")
    return Owner(
        _number("user", user, lambda name: pwd.getpwnam(name).pw_uid),
        _number("group", group, lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(kind: str, text: str, look_up: Callable[[str], int]) -> int:
    """Return the number of a user or group; -1 for an empty text. Raises LookupError."""
    if not text:
        return -1
    if text.isascii() and text.isdigit():
        if not _is_id(text):
            raise LookupError(f"{text} is no number of a {kind}")
        return int(text)
    if (kind, text) in _known:
        return _known[kind, text]
    try:
        return look_up(text)
    except (KeyError, OSError, ValueError):  # no such name, no way to ask, or no name at all
        raise LookupError(f"there is no {kind} {text!r} here") from None
