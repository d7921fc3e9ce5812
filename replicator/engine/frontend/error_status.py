"""Why one frontend is not up to date, or holds more than it should: remembered for `status`, and logged once."""

from __future__ import annotations

import logging
import time

import structlog

from replicator.core.pending import Key
from replicator.model import printable

log = structlog.get_logger()

TOLD = 1000
"""Paths whose trouble is logged; a full disk refuses every path for the same reason."""


class ErrorStatus:
    """The troubles of one frontend.

    Args:
        host: what the log calls it.

    Attributes:
        error: the last one that is not over; empty if there is none.
        is_slow: why the comparison that goes on gave its place to others; empty if it did not.
    """

    def __init__(self, host: str) -> None:
        self.error = ""
        self._host = host
        self._failure = ""
        self._log = log.bind(host=host)
        self._bind_at = 0.0
        self.is_slow = ""
        self._told: dict[Key, str] = {}
        self._excess: dict[int, str] = {}
        self._unlisted: dict[int, list[str]] = {}
        self._unopened: dict[int, str] = {}
        self._lacking: dict[int, str] = {}

    @property
    def lasting(self) -> str:
        """What is wrong although nothing is owed: a tree cannot be there, more is there than should be, or nobody knows what."""
        return (
            next(iter(self._unopened.values()), "")
            or self.excess
            or next(iter(self.not_listed), "")
            or next(iter(self._lacking.values()), "")
        )

    @property
    def excess(self) -> str:
        """Why what only this frontend has stays there; empty if nothing does."""
        return next(iter(self._excess.values()), "")

    @property
    def exceeding(self) -> set[int]:
        """The trees of which more is there than may go without a question."""
        return set(self._excess)

    @property
    def not_listed(self) -> list[str]:
        """Sentences about directories that could not be listed in the last comparison of everything."""
        return [problem for problems in self._unlisted.values() for problem in problems]

    def failed(self, reason: str, attempt: int) -> None:
        """A connection has ended, or was never made; the same reason is logged once until a comparison succeeds."""
        if reason != self._failure:
            log.warning("frontend failed", host=self._host, reason=reason, attempt=attempt)
        self.error = self._failure = reason
        self.is_slow = ""

    def is_new(self, reason: str) -> bool:
        """Return True unless the last connection has failed for the same reason."""
        return reason != self._failure

    def sent(self, key: Key, what: str) -> None:
        """The frontend has confirmed a path; logged at debug level."""
        now = time.monotonic()
        # Binding takes 4 us, which each small file would pay; a reload may change the level.
        if now >= self._bind_at:
            self._log, self._bind_at = log.bind(host=self._host), now + 1.0
        if self._log.is_enabled_for(logging.DEBUG):
            self._log.debug(what, path=printable(key.path))

    def delayed(self, key: Key, reason: str) -> None:
        """A path is tried again soon, for a reason that ends by itself."""
        log.debug("tried again soon", host=self._host, path=printable(key.path), reason=reason)

    def surplus(self, paths: list[bytes]) -> None:
        """A comparison has found what the backend does not hold, and it is removed."""
        if paths:
            told = list(map(printable, paths))
            log.info("deleted", host=self._host, paths=told, reason="not on the backend")

    def slow(self, reason: str) -> None:
        """A comparison has given its place to others because it is slow; logged once, and told until the comparison ends."""
        if not self.is_slow:
            log.warning("comparison is slow", host=self._host, reason=reason)
        self.is_slow = reason

    def refused(self, key: Key, reason: str) -> None:
        """A path is not replicated; the same trouble with the same path is logged once until it is over."""
        self.error = text = f"{printable(key.path)}: {reason}"
        if self._told.get(key) != text and len(self._told) < TOLD:
            self._told[key] = text
            log.warning("not replicated", host=self._host, path=printable(key.path), reason=reason)

    def over(self, key: Key) -> None:
        """A path is replicated."""
        if self._told.pop(key, None) and not self._told:
            self.error = ""

    def lacks(self, tree: int, what: str) -> None:
        """The agent cannot do what the settings of a tree ask for; empty: it can."""
        if what and what != self._lacking.get(tree):
            log.warning("the agent is too old", host=self._host, reason=what)
        self._lacking.pop(tree, None)
        if what:
            self._lacking[tree] = what

    def unlisted(self, tree: int, problems: list[str]) -> None:
        """A comparison of a whole tree has ended; these directories could not be listed there."""
        for problem in problems:
            if problem not in self._unlisted.get(tree, ()):
                log.warning("cannot be listed", host=self._host, reason=problem)
        self._unlisted[tree] = problems

    def unopened(self, tree: int, reason: str) -> None:
        """The agent cannot use a tree's target; the same reason is logged once. Empty: it can."""
        if reason and reason != self._unopened.get(tree):
            log.warning("target not usable", host=self._host, reason=reason)
        if reason:
            self._unopened[tree] = reason
        else:
            self._unopened.pop(tree, None)

    def forget(self, tree: int) -> None:
        """Drop the troubles of a tree that was removed."""
        for known in (self._excess, self._unlisted, self._unopened):
            known.pop(tree, None)
        for key in [key for key in self._told if key.tree == tree]:
            self.over(key)

    def exceeds(self, tree: int, excess: str) -> None:
        """What only the frontend has stays there, because it is so much."""
        if excess != self._excess.get(tree):
            log.error("deletions paused", host=self._host, reason=excess)
        self._excess[tree] = excess

    def exceeds_no_more(self, tree: int) -> None:
        """What only the frontend had of a tree may go, or has gone."""
        if self._excess.pop(tree, None):
            log.info("deletions resumed", host=self._host)

    def compared(self) -> None:
        """A comparison has succeeded: what is left are refused paths."""
        self._failure = self.is_slow = ""
        self.error = next(iter(self._told.values()), "")
