"""The result type of the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding of `replicator check`.

    Attributes:
        level: `ok`, `warn` or `fail`.
        subject: what was examined.
        what: what was found.
        why: why it matters; empty if `ok`.
        fix: how to fix it, preferably a command; may be empty.
        frontend: True if it concerns one frontend only, not the backend.
    """

    level: str
    subject: str
    what: str
    why: str = ""
    fix: str = ""
    frontend: bool = False
