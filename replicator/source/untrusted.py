"""Untrusted parts of a source tree: the root, or mounts below it.

What is found or missing below the root counts only while the mounts are those that were accepted (see `engine.ingest.source_guard`): a file that
vanished because a volume was unmounted was not deleted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from replicator.model import ROOT, ancestors, is_below
from replicator.mounttable import Mount

NOT_MOUNTED = "its volume is not mounted any more"
NOT_JUDGED = "another volume has been mounted there"


class Untrusted:
    """The untrusted parts of one tree. Thread-safe.

    Args:
        generation: returns a number that changes with each change of the mount table.
        mounts: returns the current mounts below the root.

    Attributes:
        reasons: untrusted path (the root or a mount point) to the reason why nothing at and below it is read or counts as deleted.
    """

    def __init__(
        self, generation: Callable[[], int], mounts: Callable[[], Mapping[bytes, Mount]]
    ) -> None:
        self.reasons: dict[bytes, str] = {}
        self._generation = generation
        self._mounts = mounts
        self._accepted: dict[bytes, Mount] = {}
        self._checked = -1

    def set_mounts(self, accepted: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Set the trusted mounts below the root, and the reasons why others are untrusted."""
        kept = {path: reason for path, reason in self.reasons.items() if path == ROOT}
        self.reasons = {**reasons, **kept}
        self._accepted = dict(accepted)
        self._checked = -1

    def set_root(self, reason: str) -> None:
        """Set the reason why the root is untrusted; empty if it is trusted."""
        others = {path: text for path, text in self.reasons.items() if path != ROOT}
        self.reasons = {ROOT: reason, **others} if reason else others

    def reason_of(self, path: bytes) -> str:
        """Return why a path is untrusted; empty if it is trusted."""
        reasons = self.reasons
        if not reasons:
            return ""
        if ROOT in reasons:
            return reasons[ROOT]
        return next((reasons[at] for at in (path, *ancestors(path)) if at in reasons), "")

    def check_mount(self, path: bytes) -> None:
        """Check, after an access to `path`, that it was on the expected file system. Costs 1 us if the mounts have not changed.

        Raises:
            OSError: ENODEV if a mount has changed and the new one has not been accepted yet.
        """
        generation = self._generation()
        if generation == self._checked:
            return
        accepted, reasons, table = self._accepted, self.reasons, self._mounts()
        there, expected = _nearest(table, path), _nearest(accepted, path)
        if there != expected and there not in reasons:
            raise OSError(errno.ENODEV, NOT_MOUNTED if is_below(expected, there) else NOT_JUDGED)
        if expected in table and _which(table[expected]) != _which(accepted[expected]):
            raise OSError(errno.ENODEV, NOT_JUDGED)
        if {at: _which(table[at]) for at in table if at not in reasons} == {
            at: _which(mount) for at, mount in accepted.items()
        }:
            self._checked = generation

    def check_absence(self, path: bytes, is_there: Callable[[bytes], bool]) -> None:
        """Check that a path is not missing because of a mount: its directory may have been moved together with a volume.

        Args:
            path: the path at which nothing was found.
            is_there: returns True if a path is a directory.

        Raises:
            OSError: ENODEV if a volume is missing.
        """
        self.check_mount(path)
        for mount in (*self._accepted, *self.reasons):
            is_above = is_below(path, mount) and bool(mount)
            if mount == path or is_below(mount, path) or (is_above and not is_there(mount)):
                raise OSError(errno.ENODEV, NOT_MOUNTED)


def _which(mount: Mount) -> tuple[int, str]:
    """Return what identifies a mount; not its path, which changes when a directory above is renamed."""
    return mount.number, mount.identity


def _nearest(places: Mapping[bytes, object], path: bytes) -> bytes:
    """Return the nearest of `places` at or above a path; the root if there is none."""
    if not places:
        return ROOT
    return next((at for at in (path, *ancestors(path)) if at in places), ROOT)
