"""Reasons for which the agent refuses a change, as codes of the wire protocol."""

from __future__ import annotations

import errno

from replicator.errors import DeltaError, PathRefused
from replicator.model import shortened
from replicator.wire import changes

_BY_ERRNO = {
    errno.ENOSPC: changes.NO_SPACE,
    errno.EDQUOT: changes.NO_SPACE,
    errno.EFBIG: changes.NO_SPACE,
    errno.EACCES: changes.DENIED,
    errno.EPERM: changes.DENIED,
    errno.EROFS: changes.DENIED,
    errno.ELOOP: changes.PATH_REFUSED,
    errno.ENOTDIR: changes.PATH_REFUSED,
    errno.EISDIR: changes.PATH_REFUSED,
    errno.ENAMETOOLONG: changes.PATH_REFUSED,
    errno.ENOENT: changes.VANISHED,
    errno.ENOTEMPTY: changes.NOT_EMPTY,
    errno.EEXIST: changes.NOT_EMPTY,
}


class Refused(Exception):
    """Raised when a change is not applied; the path stays as it was.

    Attributes:
        reason: one of `wire.changes.REASONS`.
        detail: explanation for the operator; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class HungUp(Exception):
    """Raised during a change when the backend has closed the connection; it ends the agent.

    It is no OSError, because an OSError refuses the change.
    """


MOST = 500
"""Characters of an error text that are sent."""


def shortened_detail(text: str) -> str:
    """Return an error text short enough to be sent: a path in it may have 4 KiB."""
    return shortened(text, MOST)


def refusal_of(error: Exception) -> Refused:
    """Return the refusal with which to answer a change that raised `error`."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, PathRefused):
        return Refused(changes.PATH_REFUSED, str(error))
    if isinstance(error, DeltaError):
        return Refused(changes.BASE_MISMATCH, str(error))
    if isinstance(error, OSError):
        reason = _BY_ERRNO.get(error.errno or 0, changes.FAILED)
        return Refused(reason, error.strerror or str(error))
    return Refused(changes.FAILED, shortened_detail(f"{type(error).__name__}: {error}"))
