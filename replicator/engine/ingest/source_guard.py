"""Verifies that a source is the one that the catalog describes, before any file of it is read and published.

The catalog records the `Identity` of the root, and that of each file system that is mounted below it (`Mount.identity`). A root or a
volume with another identity is walked without reading any file, and is accepted if most of the recorded paths are in it. Where an
untrusted user could have replaced the root, another one is accepted only after `resume`. While a volume is missing or not accepted,
everything below its mount point stays as it is on all frontends.

Runs in a worker thread, one call at a time for a tree.
"""

from __future__ import annotations

import time

import structlog

from replicator.core import guard
from replicator.engine.ingest.records import RecordCursor, records_below
from replicator.errors import SourceError
from replicator.model import ROOT, Unlisted, is_within, printable, renamed
from replicator.mounttable import Mount, Prober
from replicator.ports import Catalog, Source

log = structlog.get_logger()

CHECK_AGAIN = 10.0
"""Minimum seconds between two checks of a volume that is not accepted; the pause is ten times what the check takes."""

ANSWER_TIMEOUT = 5.0
"""Seconds after which a network file system that does not answer counts as hanging: its usual timeouts are longer."""


class SourceGuard:
    """Verifies the root of one tree and the mounts below it.

    Args:
        root: path of the root, for messages.
        source: the files.
        catalog: the records.

    Attributes:
        reasons: the mounts below the root that are not accepted, each with the reason.
    """

    def __init__(self, root: bytes, source: Source, catalog: Catalog) -> None:
        self.reasons: dict[bytes, str] = {}
        self._root = root
        self._source = source
        self._catalog = catalog
        self._logged = ""
        self._prober = Prober()
        self._accepted: dict[bytes, Mount] | None = None
        self._table: dict[bytes, Mount] = {}
        self._next_check = 0.0

    def problems(self) -> list[str]:
        """Return full sentences about the mounts that are not accepted."""
        return [self.reasons[path] for path in sorted(self.reasons)]

    def open_root(self, *, confirmed: bool = False) -> None:
        """Open the root, and mark it as trusted if it is the recorded one.

        Args:
            confirmed: an operator has confirmed that the source is right as it is.

        Raises:
            SourceError: it is missing, or not accepted.
        """
        self._source.reopen()
        try:
            self._check_root(confirmed=confirmed)
        except SourceError as error:
            self._source.set_doubt(str(error))
            raise
        self._source.set_doubt("")

    def _check_root(self, *, confirmed: bool) -> None:
        identity = self._source.check_root()
        if self._source.exposed != self._logged:
            self._logged = self._source.exposed
            if self._logged:
                log.warning(
                    "others could replace the source",
                    tree=printable(self._root),
                    reason=self._logged,
                )
        replaced = identity.differs_from(self._catalog.root_identity()) and not confirmed
        if replaced and self._source.exposed:
            raise SourceError(
                f"The source {printable(self._root)} is another directory than before, and is not read, because"
                f" {self._source.exposed}. If it is the right one: `replicator resume`."
            )
        self._accepted = None
        self.check_mounts()  # without `confirmed`: an operator confirms a missing volume only after it was reported
        reason = self._doubt(ROOT, "The source") if replaced else ""
        if reason:
            raise SourceError(reason)

    def check_mounts(self, *, confirmed: bool = False) -> list[bytes]:
        """Read which file systems are mounted below the root, and decide which of them are accepted.

        Args:
            confirmed: an operator has confirmed that they are right as they are.

        Returns:
            The mount points whose state has changed: everything below them must be scanned.

        Raises:
            SourceError: the root is in doubt.
        """
        table, began = self._source.mounts(), time.monotonic()
        is_due = confirmed or self._accepted is None or (self.reasons and began >= self._next_check)
        if table == self._table and not is_due:
            return []
        recorded = self._catalog.mounts()
        before, was_accepted = self.reasons, self._accepted
        accepted: dict[bytes, Mount] = {}
        reasons: dict[bytes, str] = {}
        for path in sorted({*table, *recorded}):
            mount = table.get(path)
            reason = (
                ""
                if confirmed and mount is None
                else self._reason(path, mount, recorded, confirmed=confirmed)
            )
            if reason:
                reasons[path] = reason
            elif mount is not None:
                accepted[path] = mount
        kept = {path: recorded[path] for path in reasons if path in recorded}
        now = kept | {path: mount.identity for path, mount in accepted.items()}
        if now != recorded:
            self._catalog.set_mounts(now)
        self._source.set_mounts(accepted, reasons)
        self.reasons, self._accepted, self._table = reasons, accepted, table
        ended = time.monotonic()
        self._next_check = ended + max(CHECK_AGAIN, 10 * (ended - began))
        if was_accepted is None:
            return []
        paths = {*before, *reasons, *was_accepted, *accepted}
        return sorted(
            path
            for path in paths
            if (path in before) != (path in reasons) or was_accepted.get(path) != accepted.get(path)
        )

    def renamed(self, source: bytes, target: bytes) -> None:
        """Update the recorded mount points after the rename of a directory.

        Raises:
            SourceError: the root is in doubt.
        """
        recorded = self._catalog.mounts()
        if not any(is_within(path, source) for path in recorded):
            return
        self._catalog.set_mounts(
            {renamed(path, source, target): recorded[path] for path in recorded}
        )
        self._source.forget_mounts()
        self.check_mounts()

    def _reason(
        self,
        path: bytes,
        mount: Mount | None,
        recorded: dict[bytes, str],
        *,
        confirmed: bool,
    ) -> str:
        """Return why a mount is not accepted; empty if it is."""
        place = f"{printable(path)} of {printable(self._root)}"
        if mount is None:
            return (
                f"The volume that was mounted at {place} is missing: nothing below it is sent or deleted, and it goes on by"
                " itself when the volume is back. If it is gone for good: `replicator resume`."
            )
        if mount.may_hang:
            self._prober.ask(mount.point)
        if not self._prober.answered(mount.point, ANSWER_TIMEOUT):
            return f"The file system at {place} does not answer: nothing below it is read, sent or deleted until it does."
        if confirmed or recorded.get(path) == mount.identity:
            return ""
        return self._doubt(path, f"The volume at {place}")

    def _doubt(self, below: bytes, what: str) -> str:
        """Walk a directory with another identity than the recorded one; return why it is not accepted, empty if it is."""
        if next(records_below(self._catalog, below), None) is None:
            return ""
        records = RecordCursor(records_below(self._catalog, below))
        met = vanished = 0
        for seen in self._source.walk(below, judging=True):
            vanished += sum(1 for _ in records.before(seen.path))
            records.at(seen.path)
            if isinstance(seen, Unlisted):
                if seen.path == below:
                    return f"{what} cannot be listed: {seen.reason}."
                records.skip_below(seen.path)
                continue
            met += 1
        vanished += sum(1 for _ in records.rest())
        return guard.rejection(
            known=records.count, met=met, vanished=vanished, replaced=True, what=what
        )
