"""What the last verification of each frontend found, kept across connections and restarts: differences outlast the daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

MAX_FRONTENDS = 1000
"""Frontends that are kept; the oldest are dropped first. Enough for a fleet of a hundred that is replaced ten times."""

PATHS = 10
"""Differing paths that are kept by name."""


@dataclass(frozen=True)
class Verified:
    """Result of the last verification of one frontend, by the command or on a schedule; times in Unix seconds.

    Attributes:
        at: when it ended.
        succeeded_at: when the last one ended that compared everything; 0: none did.
        differing: paths that differ from the backend: the frontend has not confirmed them since. Without those that were dirty anyway.
        paths: the first of them, printable.
        found: paths that differed in all verifications together, whether they were sent again or not.
        error: why the last one is incomplete; empty if it compared everything.
    """

    at: float
    succeeded_at: float = 0.0
    differing: int = 0
    paths: tuple[str, ...] = ()
    found: int = 0
    error: str = ""

    def reason(self, repairing: int) -> str:
        """Return what differs, as a sentence; empty if nothing does.

        Args:
            repairing: number of these paths that are being sent again.
        """
        if not self.differing:
            return ""
        what = differing_text(self.differing, self.paths)
        if repairing >= self.differing:
            return f"{what}: they are sent again, and not confirmed yet"
        return f"{what}: `replicator verify --repair` sends them again"

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"paths": list(self.paths)}

    @staticmethod
    def parse(row: dict[str, Any]) -> Verified:
        """Return what `row` returned.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        return Verified(
            float(row["at"]),
            float(row["succeeded_at"]),
            int(row["differing"]),
            tuple(map(str, row["paths"])),
            int(row["found"]),
            str(row["error"]),
        )


def differing_text(count: int, paths: Sequence[str]) -> str:
    """Return a clause about paths that differ."""
    such = f", such as {paths[0]}" if paths else ""
    return f"{count} paths differed from the backend in the last verification{such}"


class VerifiedFrontends:
    """The results of all frontends. `save` may be called from any thread.

    Args:
        known: what was saved, by machine.
        write: saves the results.
    """

    def __init__(
        self,
        known: Mapping[str, Verified] | None = None,
        write: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
    ) -> None:
        self._known = dict(known or {})
        self._write = write
        self._saving = threading.Lock()

    def of(self, machine: str) -> Verified | None:
        """Return the result of a frontend; None if it was never verified."""
        return self._known.get(machine)

    def note(self, machine: str, verified: Verified) -> None:
        """Record a result."""
        self._known.pop(machine, None)
        self._known[machine] = verified
        if len(self._known) > MAX_FRONTENDS:
            del self._known[next(iter(self._known))]

    def repaired(self, machine: str, path: str) -> None:
        """Record that a frontend has confirmed a path that differed; `path` is printable."""
        known = self._known.get(machine)
        if known is not None and known.differing:
            paths = tuple(one for one in known.paths if one != path)
            self._known[machine] = replace(known, differing=known.differing - 1, paths=paths)

    def save(self) -> None:
        """Save all results. Blocks."""
        with self._saving:
            self._write({machine: one.row() for machine, one in self._known.copy().items()})
