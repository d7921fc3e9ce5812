"""Read what a TaskGroup raises.

An exception group is caught with `except`, never with `except*`: before Python 3.11.4 (Debian 12 has
3.11.2) whatever is raised inside `except*` leaves it wrapped in one more group, so that the
caller's `except SourceError` does not see it.
"""

from __future__ import annotations


def leaves(error: BaseException) -> list[BaseException]:
    """Return the plain exceptions of a group at any depth, or the exception itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in leaves(member)]
