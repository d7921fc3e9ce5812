"""The reason why publishing or pruning fails, logged once and shown until it succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from replicator.errors import StoreError

log = structlog.get_logger()


class LastError:
    """Why work on the base has failed last. A reason is logged unless it is the one before; a success clears it.

    Args:
        failed: event that is logged when the work fails.
        succeeds_again: event that is logged when it succeeds after a failure; empty: none.
        values: values of both events.

    Attributes:
        reason: why the work has failed last; empty if it has not, or has succeeded since.
    """

    def __init__(self, failed: str, succeeds_again: str = "", **values: str) -> None:
        self._failed = failed
        self._succeeds_again = succeeds_again
        self._values = values
        self.reason = ""

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record whether the work in the context fails.

        Raises:
            StoreError: if it does.
        """
        try:
            yield
        except StoreError as error:
            if str(error) != self.reason:
                log.warning(self._failed, **self._values, reason=str(error))
            self.reason = str(error)
            raise
        if self.reason and self._succeeds_again:
            log.info(self._succeeds_again, **self._values)
        self.reason = ""
