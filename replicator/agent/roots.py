"""Open the directory that a tree is written to, and find out who shall own what is in it."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import Callable, Optional

from replicator.agent.claim import Claim
from replicator.agent.fence import Fences
from replicator.agent.policy import Policy
from replicator.agent.store import Owner, Store
from replicator.errors import PathRefused
from replicator.files import kin
from replicator.files.confined import Confined
from replicator.files.way import open_way, remember_groups
from replicator.model import check_path, parent, printable
from replicator.wire.messages import OpenTree, Origin

MAX_ID = (1 << 32) - 2
"""One more would be -1 to the kernel, which leaves the owner as it is."""

_known: dict[tuple[str, str], int] = {}


class Shared(Exception):
    """A target that is open has come to share files with a source."""


def open_tree(
    request: OpenTree,
    *,
    session: bytes,
    jail: Optional[bytes],
    fences: Fences,
    policy: Optional[Policy] = None,
    boot: str = "",
) -> Store:
    """Return the store for a tree; its root is made if its parent exists.

    With a jail, a root that already lies inside it stays as it is; any other is taken relative to it, as in a chroot,
    with its parents made as needed, and no symlink is followed below the jail. On the way to a jail, or to a root without one,
    symlinks are followed where only root and the agent's own user could have made them.

    Args:
        request: what the backend asks for.
        session: a name for this agent, unique on the host.
        jail: absolute path of the directory that no root may leave.
        fences: of this agent.
        policy: what the backend may ask for; None: anything.
        boot: of this machine: with the backend's, it tells whether both run on the same one.

    Raises:
        PathRefused: the root is no absolute path, or is the file system's root, or a symlink is in the way, or it shares files with
            a source.
        NotAllowed: the policy does not admit it.
        OSError: it cannot be opened or made.
        LookupError: the owner is unknown here.
    """
    if not request.root.startswith(b"/") or b"\0" in request.root:
        raise PathRefused("the target is no absolute path")
    place = os.path.normpath(b"/" + request.root.lstrip(b"/"))
    check_path(place[1:])
    inside = b"" if jail is None else inside_of(jail, place)
    owner = owner_of(request.owner)
    if policy is not None:
        owner = policy.admit(inside, owner, setid=request.setid)
    if jail is not None:
        place = os.path.join(jail, inside)
    origin = _origin_here(request.origin, boot)
    if origin.boot and (how := _overlap(kin.place_of(place), origin)):
        raise _is_shared(how)  # and is not made there either
    tree = _open_free(place) if jail is None else _open_jailed(jail, inside)
    try:
        _check_apart(tree.root_fd, origin)
        claim = Claim(tree.root_fd, fences.of(tree.root_fd), place, _doubt_about(place))
        return Store(
            tree,
            owner,
            setid=request.setid,
            session=session,
            claim=claim,
            symlinks="all" if policy is None else policy.symlinks,
        )
    except BaseException:
        tree.close()
        raise


def check_still_apart(root_fd: int, origin: Origin, boot: str) -> None:
    """Return if a root that is open already shares no files with the sources: they may be others than when it was opened.

    Raises:
        Shared: it does.
    """
    try:
        _check_apart(root_fd, _origin_here(origin, boot))
    except PathRefused as refused:
        place = printable(os.readlink(b"/proc/self/fd/%d" % root_fd))
        raise Shared(
            f"the sources have changed, and the target {place} is open: {refused}"
        ) from None


def _origin_here(origin: Origin, boot: str) -> Origin:
    """Return where the sources lie, if that is on this very machine."""
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


def inside_of(jail: bytes, place: bytes) -> bytes:
    """Return an absolute path relative to the jail: one that lies in it as it is, any other as in a chroot."""
    for outer in (jail, os.path.realpath(jail)):
        if (place + b"/").startswith(outer.rstrip(b"/") + b"/"):
            return place[len(outer) :].strip(b"/")
    return place.strip(b"/")


def open_root(place: bytes) -> int:
    """Open a root, or the jail of roots; see `files.way`. Root and the agent's own user are trusted, and nobody else."""
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


def _open_jailed(jail: bytes, path: bytes) -> Confined:
    outer = Confined(open_root(jail), unread=True)
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


def _mkdir(name: bytes, at: int) -> None:
    """Make a directory that everybody may read, unless it is there: its mode is no change that a backend sends."""
    before = os.umask(0o022)  # ours is for temporaries
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=at)
    finally:
        os.umask(before)


def remember_names() -> None:
    """Read who has which number, and who is in which group, for an agent that soon cannot read /etc any more."""
    remember_groups()
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


def owner_of(text: str) -> Owner:
    """Return the ids of `user:group`; a name that does not exist is a LookupError, never root."""
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
