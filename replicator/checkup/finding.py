"""What a check-up finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of a check-up; `level` is `ok`, `warn` or `fail`, `frontend` says that it is about a frontend alone."""

    level: str
    subject: str
    what: str
    why: str = ""
    fix: str = ""
    frontend: bool = False
