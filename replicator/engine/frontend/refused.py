"""Targets that one frontend's agent cannot use, each tried again after growing pauses; the other trees do not wait for it."""

from __future__ import annotations

import asyncio

from replicator.engine.context import Context


class Refused:
    """The trees that could not be opened on a connection.

    Args:
        context: knows the pauses.

    Attributes:
        reasons: why, by tree.
    """

    def __init__(self, context: Context) -> None:
        self.reasons: dict[int, str] = {}
        self._context = context
        self._attempts: dict[int, int] = {}
        self._until: dict[int, float] = {}

    def failed(self, tree: int, reason: str) -> None:
        """A tree could not be opened."""
        self.reasons[tree] = reason
        attempts = self._attempts[tree] = self._attempts.get(tree, 0) + 1
        self._until[tree] = _now() + self._context.retry.delay(attempts)

    def may_try(self, tree: int) -> bool:
        """Return False until the pause after a failure is over."""
        return self._until.get(tree, 0.0) <= _now()

    def next_try(self) -> float | None:
        """Return the seconds until the next pause is over; None if there is none."""
        pauses = [until - _now() for until in self._until.values() if until > _now()]
        return min(pauses, default=None)

    def hurry(self) -> None:
        """End all pauses: a person asks."""
        self._until.clear()

    def forget(self, tree: int) -> None:
        """A tree was opened, or removed."""
        self.reasons.pop(tree, None)
        self._attempts.pop(tree, None)
        self._until.pop(tree, None)

    def clear(self) -> None:
        """The connection is new."""
        for tree in list(self._until):
            self.forget(tree)


def _now() -> float:
    return asyncio.get_running_loop().time()
