"""Reasons why one frontend is not up to date, or has paths that should not exist: kept for `status`, and logged once."""

from __future__ import annotations

import logging
import time

import structlog

from replicator.core.pending import Key
from replicator.model import printable

log = structlog.get_logger()

LOGGED = 1000
"""Refused paths that are logged. A full disk refuses every path for the same reason."""


class ErrorStatus:
    """The errors of one frontend.

    Args:
        host: name of the frontend in the log.

    Attributes:
        error: the latest error that is not resolved; empty if there is none.
        slow: why the comparison that is running gave its place to others; empty if it did not.
    """

    def __init__(self, host: str) -> None:
        self.error = ""
        self.slow = ""
        self._host = host
        self._failure = ""
        self._log = log.bind(host=host)
        self._bind_at = 0.0
        self._refused: dict[Key, str] = {}
        self._surplus_kept: dict[int, str] = {}
        self._unlisted: dict[int, list[str]] = {}
        self._targets: dict[int, str] = {}
        self._unsupported: dict[int, str] = {}

    @property
    def persistent(self) -> str:
        """An error that remains although no path is dirty; empty if there is none."""
        return (
            next(iter(self._targets.values()), "")
            or self.surplus_kept
            or next(iter(self.unlisted), "")
            or next(iter(self._unsupported.values()), "")
        )

    @property
    def surplus_kept(self) -> str:
        """Why paths that only this frontend has are not removed; empty if all are."""
        return next(iter(self._surplus_kept.values()), "")

    @property
    def trees_with_surplus(self) -> set[int]:
        """The trees of which surplus paths are not removed."""
        return set(self._surplus_kept)

    @property
    def unlisted(self) -> list[str]:
        """Sentences about directories that could not be listed in the last comparison of their tree."""
        return [problem for problems in self._unlisted.values() for problem in problems]

    def failed(self, reason: str, attempt: int) -> None:
        """Record that a connection ended or could not be made. The same reason is logged once until a comparison succeeds."""
        if reason != self._failure:
            log.warning("frontend failed", host=self._host, reason=reason, attempt=attempt)
        self.error = self._failure = reason
        self.slow = ""

    def is_new(self, reason: str) -> bool:
        """Return True unless the last connection failed for the same reason."""
        return reason != self._failure

    def compared(self) -> None:
        """Record that a comparison has succeeded. Only refused paths remain as errors."""
        self._failure = self.slow = ""
        self.error = self._latest_refusal

    @property
    def _latest_refusal(self) -> str:
        return next(reversed(self._refused.values()), "")

    def sent(self, key: Key, event: str) -> None:
        """Log at debug level that the frontend has confirmed a path."""
        now = time.monotonic()
        # Binding takes 4 us, too much for each small file; a reload of the configuration may change the level.
        if now >= self._bind_at:
            self._log, self._bind_at = log.bind(host=self._host), now + 1.0
        if self._log.is_enabled_for(logging.DEBUG):
            self._log.debug(event, path=printable(key.path))

    def delayed(self, key: Key, reason: str) -> None:
        """Log at debug level that a path is tried again soon, for a reason that ends without intervention."""
        log.debug("tried again soon", host=self._host, path=printable(key.path), reason=reason)

    def refused(self, key: Key, reason: str) -> None:
        """Record that a path is not replicated. The same reason for the same path is logged once until `resolved`."""
        self.error = text = f"{printable(key.path)}: {reason}"
        former = self._refused.pop(key, "")
        if former or len(self._refused) < LOGGED:
            self._refused[key] = text  # as the latest
        if former != text and key in self._refused:
            log.warning("not replicated", host=self._host, path=printable(key.path), reason=reason)

    def resolved(self, key: Key) -> None:
        """Record that a path is replicated. If it had the latest error, the one before becomes the latest."""
        text = self._refused.pop(key, "")
        if text and (self.error == text or not self._refused):
            self.error = self._latest_refusal

    def comparison_slow(self, reason: str) -> None:
        """Record that the comparison that is running gave its place to others; logged once."""
        if not self.slow:
            log.warning("comparison is slow", host=self._host, reason=reason)
        self.slow = reason

    def set_unlisted(self, tree: int, problems: list[str]) -> None:
        """Record the directories that could not be listed in a comparison of a whole tree."""
        for problem in problems:
            if problem not in self._unlisted.get(tree, ()):
                log.warning("cannot be listed", host=self._host, reason=problem)
        self._unlisted[tree] = problems

    def target_failed(self, tree: int, reason: str) -> None:
        """Record that the agent cannot use a tree's target. The same reason is logged once."""
        if reason != self._targets.get(tree):
            log.warning("target not usable", host=self._host, reason=reason)
        self._targets[tree] = reason

    def target_opened(self, tree: int) -> None:
        """Record that the agent can use a tree's target."""
        self._targets.pop(tree, None)

    def unsupported(self, tree: int, what: str) -> None:
        """Record which setting of a tree the agent ignores; empty if none."""
        if what and what != self._unsupported.get(tree):
            log.warning("the agent is too old", host=self._host, reason=what)
        self._unsupported.pop(tree, None)
        if what:
            self._unsupported[tree] = what

    def surplus_removed(self, paths: list[bytes]) -> None:
        """Log paths that are removed because they are not in the source."""
        for path in paths:
            log.info(
                "deleted",
                path=printable(path),
                host=self._host,
                reason="it is not on the backend",
            )

    def keep_surplus(self, tree: int, reason: str) -> None:
        """Record that surplus paths of a tree are not removed, because there are so many."""
        if reason != self._surplus_kept.get(tree):
            log.error("deletions paused", host=self._host, reason=reason)
        self._surplus_kept[tree] = reason

    def surplus_resolved(self, tree: int) -> None:
        """Record that no surplus paths of a tree are kept any more."""
        if self._surplus_kept.pop(tree, None):
            log.info("deletions resumed", host=self._host)

    def forget(self, tree: int) -> None:
        """Drop the errors of a tree that was removed."""
        for errors in (self._surplus_kept, self._unlisted, self._targets, self._unsupported):
            errors.pop(tree, None)
        for key in [key for key in self._refused if key.tree == tree]:
            self.resolved(key)
