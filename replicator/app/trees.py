"""Build trees from their settings."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Callable, Collection, Container, Iterable
from typing import NamedTuple

import structlog

from replicator.catalog.store import CatalogStore
from replicator.config import Config, SettleSettings, TreeSettings
from replicator.core.debouncer import Debouncer
from replicator.core.filters import Filter
from replicator.engine.tree import ReadyFile, Tree
from replicator.errors import ConfigError, SourceError
from replicator.model import MAX_TREES, printable
from replicator.source.tree import SourceTree
from replicator.watch.inotify import InotifyWatcher
from replicator.wire.messages import OpenTree

log = structlog.get_logger()

RESERVED = b".replicator"
"""Directory reserved for replicator on the frontends; never replicated, because an upload could then replace a ready file."""


class Made(NamedTuple):
    """A tree that was built from its settings, but not added to the service yet."""

    settings: TreeSettings
    tree: Tree
    source: SourceTree


class TreeBuilder:
    """Builds trees, and gives them their numbers.

    Args:
        store: has the catalogs.
        rescan: returns the seconds between two scans of directories without a watch; called when a watcher is made.
    """

    def __init__(self, store: CatalogStore, rescan: Callable[[], float]) -> None:
        self._store = store
        self._rescan = rescan
        # Cycle through all numbers before reusing one: changes of a removed tree may still be pending for a disconnected frontend.
        self._free = itertools.cycle(range(1, MAX_TREES + 1))

    def build(
        self,
        config: Config,
        known: Collection[TreeSettings],
        taken: Container[int],
        *,
        must_exist: bool,
    ) -> list[Made]:
        """Build the trees of a configuration, except known ones.

        Args:
            config: the settings.
            known: settings of trees that exist.
            taken: numbers of these trees.
            must_exist: refuse a source that is missing.

        Raises:
            ConfigError: if one cannot be built; those built before are closed.
        """
        made: list[Made] = []
        try:
            for index, settings in enumerate(config.tree):
                if settings not in known:
                    made.append(
                        self._build(
                            f"tree[{index}]", settings, config.settle, taken, must_exist=must_exist
                        )
                    )
        except BaseException:
            close(made)
            raise
        return made

    def _build(
        self,
        where: str,
        settings: TreeSettings,
        settle: SettleSettings,
        taken: Container[int],
        *,
        must_exist: bool,
    ) -> Made:
        number = next(number for number in self._free if number not in taken)
        root = os.fsencode(settings.source)
        ours = map(os.fsencode, (settings.ready_file, settings.stamp_file))
        reserved = [RESERVED, *filter(None, ours)]
        excluded = Filter(settings.exclude, reserved)
        source = self._open_source(where, settings, excluded, must_exist=must_exist)
        ready_path = os.fsencode(settings.ready_file)
        tree = Tree(
            number=number,
            root=root,
            source=source,
            catalog=self._store.tree(root),
            make_watcher=lambda: InotifyWatcher(
                root,
                prune=excluded.excluded,
                rescan=self._rescan(),  # a reload may have changed it since the tree was built
                source=source,
            ),
            debouncer=Debouncer(cooldown=settle.cooldown, max_wait=settle.max_wait),
            target=OpenTree(
                number,
                os.fsencode(settings.target or settings.source),
                settings.owner,
                settings.setid,
                settings.durable == "batch",
                ready_path,
                stamp=os.fsencode(settings.stamp_file),
            ),
            delete=settings.delete,
            delete_guard=settings.delete_guard,
            symlinks=settings.symlinks,
            max_file_size=settings.most_bytes,
            compress=settings.compress,
            ready=ReadyFile(ready_path, settings.ready_max_lag) if ready_path else None,
            reserved=tuple(reserved),
        )
        return Made(settings, tree, source)

    def _open_source(
        self, where: str, settings: TreeSettings, excluded: Filter, *, must_exist: bool
    ) -> SourceTree:
        """Open a source, and log what is left out of it.

        Raises:
            ConfigError: if it cannot be opened, or a trusted user is unknown.
        """
        try:
            source = SourceTree(
                os.fsencode(settings.source),
                filter=excluded,
                multiplier=self._store.multiplier,
                symlinks=settings.symlinks,
                trusted=trusted_users(f"{where}.trust", settings),
                must_exist=must_exist,
            )
        except SourceError as error:
            raise ConfigError(f"{where}.source", str(error)) from error
        source.left_out.on_special = lambda path: log.warning(
            "special file left out", path=printable(path)
        )
        source.left_out.on_symlink = lambda path: log.warning(
            "symlink left out",
            path=printable(path),
            reason=f"tree.symlinks is {settings.symlinks!r}",
            frontends="removed" if settings.delete else "not removed: tree.delete is off",
        )
        return source


def close(made: Iterable[Made]) -> None:
    """Close trees that are not used."""
    for one in made:
        one.source.close()


def trusted_users(where: str, settings: TreeSettings) -> frozenset[int]:
    """Return the numeric ids of the users in `tree.trust`.

    Raises:
        ConfigError: if a user is unknown.
    """
    return frozenset(_user(f"{where}[{index}]", name) for index, name in enumerate(settings.trust))


def _user(where: str, name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError, OSError):
        raise ConfigError(where, f"there is no user {name!r} on this machine") from None
