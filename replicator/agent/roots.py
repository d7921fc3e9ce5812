"""Open the directory that a tree is written to, and resolve the names of its owner."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import Callable, Optional

from replicator.agent.fencing import FencingTokens
from replicator.agent.file_writer import Owner
from replicator.agent.policy import Policy
from replicator.agent.store import Store
from replicator.agent.write_lease import WriteLease
from replicator.errors import PathRefused
from replicator.files import kin
from replicator.files.confined import Confined
from replicator.files.way import open_way, remember_groups
from replicator.model import check_path, parent, printable
from replicator.wire.messages import OpenTree, Origin

MAX_ID = (1 << 32) - 2
"""Highest user or group id: the kernel reads the next number as -1, which means to leave the owner as it is."""

known_ids: dict[tuple[str, str], int] = {}


class Shared(Exception):
    """Raised when an open target shares files with a source, after the sources have changed."""


def open_tree(
    request: OpenTree,
    *,
    session: bytes,
    pin_root: Optional[bytes],
    tokens: FencingTokens,
    policy: Optional[Policy] = None,
    boot: str = "",
) -> Store:
    """Return the store for a tree; create its root if only the root itself is missing.

    With a pin root, a root that lies inside it is used as it is; any other is taken relative to it, as in a chroot. Missing
    parents below the pin root are created, and no symlink is followed there. On the way to the pin root, or to a root without
    one, symlinks are followed where only root and the agent's own user could have created them.

    Args:
        request: what the backend asks for.
        session: a name for this agent, unique on the host.
        pin_root: absolute path of the directory that all roots must lie in; None: no limit.
        tokens: the fencing tokens of this agent.
        policy: what the backend may ask for; None: anything.
        boot: id of this machine's boot; the same as the backend's if both run on one machine.

    Raises:
        PathRefused: the root is not an absolute path, is the file system's root, is behind a symlink that is not followed, or shares
            files with a source; or the stamp file is not below it.
        NotAllowed: the policy forbids it.
        OSError: the root cannot be opened or created.
        LookupError: the owner does not exist on this host.
    """
    if not request.root.startswith(b"/") or b"\0" in request.root:
        raise PathRefused("the target is not an absolute path")
    place = os.path.normpath(b"/" + request.root.lstrip(b"/"))
    check_path(place[1:])
    if request.stamp:
        check_path(request.stamp)
    inside = b"" if pin_root is None else inside_of(pin_root, place)
    owner = owner_of(request.owner)
    if policy is not None:
        owner = policy.admit(inside, owner, setid=request.setid)
    if pin_root is not None:
        place = os.path.join(pin_root, inside)
    origin = _origin_here(request.origin, boot)
    if origin.boot and (how := _overlap(kin.place_of(place), origin)):
        raise _is_shared(how)  # before the root is created
    tree = _open_free(place) if pin_root is None else _open_pinned(pin_root, inside)
    try:
        _check_apart(tree.root_fd, origin)
        lease = WriteLease(tree.root_fd, tokens.of(tree.root_fd), place, _doubt_about(place))
        return Store(
            tree,
            owner,
            setid=request.setid,
            session=session,
            lease=lease,
            symlinks="all" if policy is None else policy.symlinks,
        )
    except BaseException:
        tree.close()
        raise


def check_still_apart(root_fd: int, origin: Origin, boot: str) -> None:
    """Verify that an open root shares no files with the sources, which may have changed since the root was opened.

    Raises:
        Shared: it does share files.
    """
    try:
        _check_apart(root_fd, _origin_here(origin, boot))
    except PathRefused as refused:
        place = printable(os.readlink(b"/proc/self/fd/%d" % root_fd))
        raise Shared(
            f"the sources have changed, and the target {place} is open: {refused}"
        ) from None


def _origin_here(origin: Origin, boot: str) -> Origin:
    """Return where the sources are if the backend runs on this machine; otherwise an empty Origin."""
    return origin if boot and boot == origin.boot else Origin()


def _overlap(target: kin.Place, origin: Origin) -> str:
    return kin.overlap(target, set(origin.sources), set(origin.above), origin.missing)


def _check_apart(root_fd: int, origin: Origin) -> None:
    if origin.boot and (how := _overlap(kin.Place(kin.chain(root_fd)), origin)):
        raise _is_shared(how)


def _is_shared(how: str) -> PathRefused:
    return PathRefused(
        f"it {how} on this very machine: this is the backend, or shares the directory with it."
        " Take it out of the list of frontends (discovery.exclude), or give the tree another target"
    )


def inside_of(pin_root: bytes, place: bytes) -> bytes:
    """Return the path below the pin root that an absolute path means: itself if it lies in the pin root, otherwise as in a chroot."""
    for outer in (pin_root, os.path.realpath(pin_root)):
        if (place + b"/").startswith(outer.rstrip(b"/") + b"/"):
            return place[len(outer) :].strip(b"/")
    return place.strip(b"/")


def open_root(place: bytes) -> int:
    """Open a root or a pin root (see `files.way`), trusting only root and the agent's own user."""
    return open_way(place, {os.geteuid()}, unread=True).fd


def _doubt_about(place: bytes) -> str:
    """Return who else could have put another directory at a path, as a clause; empty if nobody could."""
    try:
        way = open_way(place, {os.geteuid()}, unread=True)
    except PathRefused as refused:
        return str(refused)
    os.close(way.fd)
    return way.doubt


def _open_free(root: bytes) -> Confined:
    above, name = os.path.split(root)
    parent_fd = open_root(above)
    try:
        _mkdir(name, parent_fd)
    finally:
        os.close(parent_fd)
    return Confined(open_root(root), unread=True)


def _open_pinned(pin_root: bytes, path: bytes) -> Confined:
    outer = Confined(open_root(pin_root), unread=True)
    try:
        _make(outer, path)
        return Confined(os.dup(outer.directory(path)), unread=True)
    finally:
        outer.close()


def _make(tree: Confined, path: bytes) -> None:
    """Create the directory `path` and its parents unless they exist."""
    if path:
        _make(tree, parent(path))
        _mkdir(path.rpartition(b"/")[2], tree.directory(parent(path)))


def _mkdir(name: bytes, at: int) -> None:
    """Create a directory that everybody may read, unless it exists; the backend never sends a mode for it."""
    before = os.umask(0o022)  # the agent's own umask, 0o077, is meant for temporary files
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=at)
    finally:
        os.umask(before)


def remember_names() -> None:
    """Read user ids, group ids and group members now: once the sandbox is in force, the agent cannot read /etc."""
    remember_groups()
    for kind, file in (("user", "/etc/passwd"), ("group", "/etc/group")):
        with suppress(OSError), open(file, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                name, _, number = line.split(":")[:3] if line.count(":") >= 2 else ("", "", "")
                number = number.strip()
                if _is_id(number):
                    known_ids.setdefault((kind, name), int(number))
    with suppress(KeyError):
        pwd.getpwuid(os.geteuid())  # makes the C library load its other sources, such as LDAP


def _is_id(text: str) -> bool:
    """Return True for a decimal number that the kernel accepts as a user or group id."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID


def owner_of(text: str) -> Owner:
    """Return the ids of `user:group`.

    Raises:
        LookupError: one of the names does not exist; the files must not end up as root's.
    """
    user, _, group = text.partition(":")
    return Owner(
        _number("user", user, lambda name: pwd.getpwnam(name).pw_uid),
        _number("group", group, lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(kind: str, text: str, look_up: Callable[[str], int]) -> int:
    """Return the id of a user or group; -1 for an empty text. Raises LookupError."""
    if not text:
        return -1
    if text.isascii() and text.isdigit():
        if not _is_id(text):
            raise LookupError(f"{text} is not a valid {kind} id")
        return int(text)
    if (kind, text) in known_ids:
        return known_ids[kind, text]
    try:
        return look_up(text)
    except (KeyError, OSError, ValueError):  # unknown, lookup failed, or not a possible name
        raise LookupError(f"there is no {kind} {text!r} here") from None
