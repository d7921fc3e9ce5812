"""Mounts below the root of a watched tree.

A mount hides the directory that it covers, and inotify sends no event for that, so the mount table is watched as well. inotify
identifies a directory by its inode and reports one path for it. Where a bind mount shows the same directory at two paths, one of them
is watched, and each of its hints is repeated for the other, its **alias**. A file system that does not answer is not accessed until
it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from replicator.model import (
    DIRECTORY,
    ROOT,
    Hint,
    Hinted,
    ancestors,
    is_below,
    is_within,
    join,
    printable,
    rebase,
)
from replicator.mounttable import Mount, MountTable, Prober


class Region(NamedTuple):
    """A subtree of a file system, and the path at which it is mounted in the tree.

    Attributes:
        path: path in the tree.
        device: number of the file system.
        root: path of the subtree in the file system.
    """

    path: bytes
    device: bytes
    root: bytes


class TreeMounts:
    """The mounts below one root.

    Args:
        root_fd: a descriptor of the root, which the caller closes.
        prune: called with (path, kind); returns True for excluded paths.

    Attributes:
        aliases: alias path to the path at which the same directory or file is watched.
        files: paths of single files that are mounted from outside of the tree.
        unheard: paths of mounts whose changes inotify does not report completely: single files and network file systems.
    """

    def __init__(self, root_fd: int, prune: Callable[[bytes, str], bool]) -> None:
        self.aliases: dict[bytes, bytes] = {}
        self.files: list[bytes] = []
        self.unheard: list[bytes] = []
        self._root_fd = root_fd
        self._prune = prune
        self._table = MountTable()
        self._prober = Prober()
        self._mounts: dict[bytes, Mount] = {}
        self._remote: dict[bytes, Mount] = {}
        self._silent: frozenset[bytes] = frozenset()
        try:
            self.refresh()
        except BaseException:
            self._table.close()
            raise

    def close(self) -> None:
        """Release the table."""
        self._table.close()

    def refresh(self) -> list[bytes]:
        """Read the mount table again; return the paths whose watches must be checked."""
        self._table.forget()
        real = os.readlink(b"/proc/self/fd/%d" % self._root_fd)
        before, aliased = self._mounts, self.aliases
        self._mounts = {
            path: mount
            for path, mount in self._table.below(real).items()
            if not self._is_pruned(path)
        }
        base = self._table.holding(real)
        remote = {path: mount for path, mount in self._mounts.items() if mount.may_hang}
        if base is not None and base.may_hang:
            remote[ROOT] = base
        self._silent = (self._silent & remote.keys()) | (
            remote.keys() - self._remote.keys() - {ROOT}
        )
        self._remote = remote
        for mount in remote.values():
            self._prober.ask(mount.point)
        self.aliases = self._find_aliases(base, real)
        self.files = [
            path
            for path, mount in self._mounts.items()
            if path not in self.aliases and _is_file(mount)
        ]
        self.unheard = [*self.files, *(path for path in remote if path)]
        changed = {path for path, _ in before.items() ^ self._mounts.items()}
        return sorted(changed | {path for path, _ in aliased.items() ^ self.aliases.items()})

    def probe(self) -> list[bytes]:
        """Probe the file systems that may hang; return the paths of those that answer again."""
        silent = {
            path for path, mount in self._remote.items() if not self._prober.answered(mount.point)
        }
        back = sorted(self._silent - silent)
        self._silent = frozenset(silent)
        for mount in self._remote.values():
            self._prober.ask(mount.point)
        return back

    @property
    def may_block(self) -> bool:
        """True if an access to the tree may block, because the root or a mount is on a network file system."""
        return bool(self._remote)

    def is_remote(self, path: bytes) -> bool:
        """Return True if an access to a path may block, because it is on a network file system."""
        if not self._remote:
            return False
        return any(at in self._remote for at in (path, *ancestors(path), ROOT))

    def is_skipped(self, path: bytes) -> bool:
        """Return True for a directory that gets no watch: its file system does not answer, or it is watched at another path."""
        return path in self._silent or path in self.aliases

    def problems(self, root: bytes) -> Iterator[str]:
        """Yield full sentences about file systems that do not answer."""
        for path in sorted(self._silent):
            mount = self._remote[path]
            if not self._prober.answered(mount.point):
                yield (
                    f"The file system at {printable(path) or '.'} of {printable(root)} ({printable(mount.source)}) does not"
                    " answer. What is in it is not followed until it does."
                )

    def with_aliases(self, hints: Iterable[Hint]) -> list[Hint]:
        """Return the hints, each followed by the corresponding hints for aliases."""
        all_hints = []
        for hint in hints:
            all_hints.append(hint)
            for path, watched in self.aliases.items():
                all_hints.extend(_elsewhere(hint, watched, path))
        return all_hints

    def _is_pruned(self, path: bytes) -> bool:
        return any(self._prune(at, DIRECTORY) for at in (path, *ancestors(path)))

    def _find_aliases(self, base: Mount | None, real: bytes) -> dict[bytes, bytes]:
        if not self._mounts:
            return {}
        regions = [Region(path, m.device, m.root) for path, m in self._mounts.items()]
        regions.sort(key=lambda region: (len(region.root), region.path))
        if base is not None:
            way = real[len(base.point.rstrip(b"/")) :].strip(b"/")
            regions.insert(0, Region(ROOT, base.device, _joined(base.root, way)))
        aliases: dict[bytes, bytes] = {}
        for number, region in enumerate(regions):
            for other in regions[:number]:
                if other.path in aliases or other.device != region.device:
                    continue
                if (path := self._shown(region, other)) is not None:
                    aliases[region.path] = path
                    break
                if (path := self._shown(other, region)) is not None:
                    aliases[path] = other.path
        return aliases

    def _shown(self, inner: Region, outer: Region) -> bytes | None:
        """Return the path at which the mount `outer` shows the root of the mount `inner`; None if it does not show it."""
        if inner.root == outer.root:
            path = outer.path
        elif inner.root.startswith(outer.root.rstrip(b"/") + b"/"):
            path = join(outer.path, inner.root[len(outer.root.rstrip(b"/")) + 1 :])
        else:
            return None
        covering = next((at for at in (path, *ancestors(path)) if at in self._mounts), ROOT)
        if covering != outer.path or path == inner.path or self._is_pruned(path):
            return None
        return path


def _elsewhere(hint: Hint, watched: bytes, path: bytes) -> Iterator[Hint]:
    """Yield the hints for `path`, an alias of `watched`, that correspond to `hint`."""
    source = _there(hint.path, watched, path)
    if hint.kind is not Hinted.MOVED:
        if source is not None:
            yield Hint(hint.kind, source)
        elif hint.kind is Hinted.SUBTREE and is_below(watched, hint.path):
            yield Hint(Hinted.SUBTREE, path)
        return
    target = _there(hint.target, watched, path)
    if source is not None and target is not None:
        yield Hint(Hinted.MOVED, source, target)
        return
    if source is not None:
        yield Hint(Hinted.CHANGED, source)
    if target is not None:
        yield Hint(Hinted.CHANGED, target)
        yield Hint(Hinted.SUBTREE, target)


def _there(path: bytes, watched: bytes, alias: bytes) -> bytes | None:
    if watched == ROOT:
        return join(alias, path) if path else alias
    return rebase(path, watched, alias) if is_within(path, watched) else None


def _joined(root: bytes, way: bytes) -> bytes:
    return root.rstrip(b"/") + b"/" + way if way else root


def _is_file(mount: Mount) -> bool:
    """Return True if a single file is mounted. inotify reports its changes in its original directory, not at the mount point."""
    return not mount.may_hang and not os.path.isdir(mount.point)
