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


def _tree_reason(tree: dict[str, Any]) -> str:
    if tree["state"] == "scanning":
        return "it is still being scanned"
    if tree["state"] == "halted":
        return " ".join(tree["problems"]) or "it is halted"
    return ""
