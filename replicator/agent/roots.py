"""Open the directory that a tree is written to, and find out who shall own what is in it."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import Optional

from replicator.agent.store import Owner, Store
from replicator.errors import PathRefused
from replicator.files.confined import Confined
from replicator.model import check_path, parent
from replicator.wire.messages import OpenTree


def open_tree(request: OpenTree, *, session: bytes, jail: Optional[bytes]) -> Store:
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
    tree = (
        _open_free(b"/" + root)
        if jail is None
        else _open_jailed(os.path.realpath(jail), b"/" + root)
    )
    try:
        return Store(tree, _owner(request.owner), setid=request.setid, session=session)
    except BaseException:
        tree.close()
        raise


def _open_free(root: bytes) -> Confined:
    with suppress(FileExistsError):
        os.mkdir(root, 0o755)
    return Confined.open(root)


def _open_jailed(jail: bytes, root: bytes) -> Confined:
    inside = root[len(jail) :] if (root + b"/").startswith(jail.rstrip(b"/") + b"/") else root
    path = inside.strip(b"/")
    outer = Confined.open(jail)
    try:
        _make(outer, path)
        return Confined(os.dup(outer.directory(path)))
    finally:
        outer.close()


def _make(tree: Confined, path: bytes) -> None:
    """Make the directory `path` and its parents."""
    if path:
        _make(tree, parent(path))
        with suppress(FileExistsError):
            os.mkdir(path.rpartition(b"/")[2], 0o755, dir_fd=tree.directory(parent(path)))


def _owner(text: str) -> Owner:
    """Return the ids of `user:group`; a name that does not exist is an error, never root."""
    user, _, group = text.partition(":")
    uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid if user else -1
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid if group else -1
    return Owner(uid, gid)
