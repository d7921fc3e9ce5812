"""What of a source tree must not be believed at present: the root, or a mount below it.

What is met or missed below the root is believed only while the mounts are those that were judged (see `engine.judge`): what is
gone with a volume was not deleted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from replicator.model import ROOT, ancestors, is_below
from replicator.mounttable import Mount

NOT_MOUNTED = "its volume is not mounted any more"
NOT_JUDGED = "another volume has been mounted there"


class Doubts:
    """The doubts about one tree. All methods may be called from any thread.

    Args:
        generation: returns a number that is another one after each change of the mount table.
        mounts: returns what is mounted below the root now.

    Attributes:
        reasons: path (the root, or a mount point) to the reason why nothing at and below it is read or believed gone.
    """

    def __init__(
        self, generation: Callable[[], int], mounts: Callable[[], Mapping[bytes, Mount]]
    ) -> None:
        self.reasons: dict[bytes, str] = {}
        self._generation = generation
        self._mounts = mounts
        self._believed: dict[bytes, Mount] = {}
        self._vetted = -1

    def set_mounts(self, believed: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Say which mounts below the root are believed, and why others are not."""
        kept = {path: reason for path, reason in self.reasons.items() if path == ROOT}
        self.reasons = {**reasons, **kept}
        self._believed = dict(believed)
        self._vetted = -1

    def set_root(self, reason: str) -> None:
        """Say why the root is in doubt; empty if it is not."""
        others = {path: text for path, text in self.reasons.items() if path != ROOT}
        self.reasons = {ROOT: reason, **others} if reason else others

    def of(self, path: bytes) -> str:
        """Return why a path must not be believed now; empty if it may."""
        reasons = self.reasons
        if not reasons:
            return ""
        if ROOT in reasons:
            return reasons[ROOT]
        return next((reasons[at] for at in (path, *ancestors(path)) if at in reasons), "")

    def vet(self, path: bytes) -> None:
        """Check, after a look at `path`, that it was on the file system that belongs there. Costs 1 us if nothing was mounted.

        Raises:
            OSError: something was mounted or unmounted, and that has not been judged yet.
        """
        generation = self._generation()
        if generation == self._vetted:
            return
        believed, reasons, table = self._believed, self.reasons, self._mounts()
        there, expected = _nearest(table, path), _nearest(believed, path)
        if there != expected and there not in reasons:
            raise OSError(errno.ENODEV, NOT_MOUNTED if is_below(expected, there) else NOT_JUDGED)
        if expected in table and _which(table[expected]) != _which(believed[expected]):
            raise OSError(errno.ENODEV, NOT_JUDGED)
        if {at: _which(table[at]) for at in table if at not in reasons} == {
            at: _which(mount) for at, mount in believed.items()
        }:
            self._vetted = generation

    def vet_absence(self, path: bytes, is_there: Callable[[bytes], bool]) -> None:
        """Check that nothing is missing at `path` because the directory with a volume in it was moved.

        Args:
            path: where nothing was found.
            is_there: says whether a directory is there.

        Raises:
            OSError: a volume is missing.
        """
        self.vet(path)
        for mount in (*self._believed, *self.reasons):
            is_above = is_below(path, mount) and bool(mount)
            if mount == path or is_below(mount, path) or (is_above and not is_there(mount)):
                raise OSError(errno.ENODEV, NOT_MOUNTED)


def _which(mount: Mount) -> tuple[int, str]:
    """Return what tells a mount from others; its path may change with a rename above it."""
    return mount.number, mount.identity


def _nearest(places: Mapping[bytes, object], path: bytes) -> bytes:
    """Return which of `places` is at or above a path, the nearest; the root if none is."""
    if not places:
        return ROOT
    return next((at for at in (path, *ancestors(path)) if at in places), ROOT)
