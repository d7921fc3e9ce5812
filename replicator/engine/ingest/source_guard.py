"""Judges whether a source is the one that the catalog describes, before anything of it is read and told.

The root is known by its `Identity`, and each file system that is mounted below it by its identity (`Mount.identity`). A root
or a volume that is another one than before is walked without reading any file, and is believed if most of what the catalog
knows is in it. Where a user who is not trusted could have replaced the root, another one is believed only after `resume`.
A volume that is missing, or is not believed, keeps everything below its mount point as it is, on all frontends.

Runs in a worker thread, one call at a time for a tree.
"""

from __future__ import annotations

import time

import structlog

from replicator.core import guard
from replicator.engine.ingest.records import Ahead, records_below
from replicator.errors import SourceError
from replicator.model import ROOT, Unlisted, is_within, printable, renamed
from replicator.mounttable import Mount, Prober
from replicator.ports import Catalog, Source

log = structlog.get_logger()

CHECK_AGAIN = 10.0
"""Seconds between two looks at a volume that is not believed; the longer a look takes, the more."""

ANSWER = 5.0
"""Seconds that a network file system has to answer before it counts as hanging: its usual time limits are longer."""


class SourceGuard:
    """Judges the root of one tree and the mounts below it.

    Args:
        root: what the tree is called in sentences.
        source: its files.
        catalog: what is known of them.

    Attributes:
        reasons: the mounts below the root that are not believed, each with the reason.
    """

    def __init__(self, root: bytes, source: Source, catalog: Catalog) -> None:
        self.reasons: dict[bytes, str] = {}
        self._root = root
        self._source = source
        self._catalog = catalog
        self._told = ""
        self._prober = Prober()
        self._believed: dict[bytes, Mount] | None = None
        self._table: dict[bytes, Mount] = {}
        self._again = 0.0

    def problems(self) -> list[str]:
        """Return full sentences about what is not believed."""
        return [self.reasons[path] for path in sorted(self.reasons)]

    def admit(self, *, believed: bool = False) -> None:
        """Open the root, and end the doubt about it if it is the right one.

        Args:
            believed: a person has said that the source is right as it is.

        Raises:
            SourceError: it is missing, or must not be believed.
        """
        self._source.reopen()
        try:
            self._judge_root(believed=believed)
        except SourceError as error:
            self._source.set_doubt(str(error))
            raise
        self._source.set_doubt("")

    def _judge_root(self, *, believed: bool) -> None:
        identity = self._source.check_root()
        if self._source.exposed != self._told:
            self._told = self._source.exposed
            if self._told:
                log.warning(
                    "others could replace the source", tree=printable(self._root), reason=self._told
                )
        replaced = identity.differs_from(self._catalog.root_identity()) and not believed
        if replaced and self._source.exposed:
            raise SourceError(
                f"The source {printable(self._root)} is another directory than before, and is not read, because"
                f" {self._source.exposed}. If it is the right one: `replicator resume`."
            )
        self._believed = None
        self.check_mounts()  # a person confirms a missing volume only after it was named
        reason = self._doubt(ROOT, "The source") if replaced else ""
        if reason:
            raise SourceError(reason)

    def check_mounts(self, *, believed: bool = False) -> list[bytes]:
        """Look which file systems are mounted below the root, and which of them are to be believed.

        Args:
            believed: a person has said that they are right as they are.

        Returns:
            The mount points of which that has changed: all below is to be walked.

        Raises:
            SourceError: the root is in doubt.
        """
        table, began = self._source.mounts(), time.monotonic()
        is_due = believed or self._believed is None or (self.reasons and began >= self._again)
        if table == self._table and not is_due:
            return []
        noted = self._catalog.mounts()
        before, was_believed = self.reasons, self._believed
        accepted: dict[bytes, Mount] = {}
        reasons: dict[bytes, str] = {}
        for path in sorted({*table, *noted}):
            mount = table.get(path)
            reason = (
                "" if believed and mount is None else self._reason(path, mount, noted, believed)
            )
            if reason:
                reasons[path] = reason
            elif mount is not None:
                accepted[path] = mount
        kept = {path: noted[path] for path in reasons if path in noted}
        now = kept | {path: mount.identity for path, mount in accepted.items()}
        if now != noted:
            self._catalog.set_mounts(now)
        self._source.set_mounts(accepted, reasons)
        self.reasons, self._believed, self._table = reasons, accepted, table
        ended = time.monotonic()
        self._again = ended + max(CHECK_AGAIN, 10 * (ended - began))
        if was_believed is None:
            return []
        paths = {*before, *reasons, *was_believed, *accepted}
        return sorted(
            path
            for path in paths
            if (path in before) != (path in reasons) or was_believed.get(path) != accepted.get(path)
        )

    def renamed(self, source: bytes, target: bytes) -> None:
        """A directory was renamed: the volumes below it are at other places now.

        Raises:
            SourceError: the root is in doubt.
        """
        noted = self._catalog.mounts()
        if not any(is_within(path, source) for path in noted):
            return
        self._catalog.set_mounts({renamed(path, source, target): noted[path] for path in noted})
        self._source.forget_mounts()
        self.check_mounts()

    def _reason(
        self,
        path: bytes,
        mount: Mount | None,
        noted: dict[bytes, str],
        believed: bool,  # noqa: FBT001
    ) -> str:
        """Return why a mount must not be believed; empty if it may be."""
        place = f"{printable(path)} of {printable(self._root)}"
        if mount is None:
            return (
                f"The volume that was mounted at {place} is missing: nothing below it is sent or deleted, and it goes on by"
                " itself when the volume is back. If it is gone for good: `replicator resume`."
            )
        if mount.may_hang:
            self._prober.ask(mount.point)
        if not self._prober.answered(mount.point, ANSWER):
            return f"The file system at {place} does not answer: nothing below it is read, sent or deleted until it does."
        if believed or noted.get(path) == mount.identity:
            return ""
        return self._doubt(path, f"The volume at {place}")

    def _doubt(self, below: bytes, what: str) -> str:
        """Walk a directory that is another one than before; return why it must not be believed."""
        if next(records_below(self._catalog, below), None) is None:
            return ""
        known = Ahead(records_below(self._catalog, below))
        met = vanished = 0
        for seen in self._source.walk(below, judging=True):
            vanished += sum(1 for _ in known.before(seen.path))
            known.at(seen.path)
            if isinstance(seen, Unlisted):
                if seen.path == below:
                    return f"{what} cannot be listed: {seen.reason}."
                known.skip_below(seen.path)
                continue
            met += 1
        vanished += sum(1 for _ in known.rest())
        return guard.doubt(known=known.count, met=met, vanished=vanished, replaced=True, what=what)
