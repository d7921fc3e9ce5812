"""Whether the daemon itself is ready: for `/readyz`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Check(NamedTuple):
    """One condition: its name, and why it does not hold (empty if it holds)."""

    name: str
    reason: str


def checks(status: dict[str, Any]) -> Iterator[Check]:
    """Yield the conditions under which the daemon can do its work.

    A frontend that is not up to date is not among them: a restart of the backend would not help it.

    Args:
        status: the daemon's status. That it could be made shows that the catalog can be read.
    """
    yield Check("catalog", "")
    for tree in status["trees"]:
        yield Check(f"tree {tree['source']}", _tree_reason(tree))
    for row in status["discovery"]:
        reason = "" if row["answered"] else row["error"] or "no answer yet"
        yield Check(f"discovery {row['provider']}", reason)


def notes(status: dict[str, Any]) -> Iterator[Check]:
    """Yield what does not make the daemon unready, and must not look well: frontends that are paused."""
    for row in status["frontends"]:
        if row["state"] == "paused":
            yield Check(f"frontend {row['host']}", row["last_error"])


def _tree_reason(tree: dict[str, Any]) -> str:
    if tree["state"] == "scanning":
        return "it is still being scanned"
    if tree["state"] == "halted" or tree["paused"]:
        return " ".join(tree["problems"]) or f"it is {tree['state']}"
    return ""
