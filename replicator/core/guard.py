"""When a source is in doubt, so that nothing must be deleted because of it.

An unmounted volume looks like an empty directory (lsyncd wiped its targets for it); a human who empties an upload directory
by hand is seen doing it, file by file, and is believed.
"""

from __future__ import annotations


def doubt(*, known: int, met: int) -> str:
    """Return why a full walk's result must not be believed; empty if it may.

    Args:
        known: paths that the catalog held.
        met: paths that the walk met.
    """
    if known and not met:
        return (
            f"the source is empty, but {known} paths were known: is its volume mounted? Nothing is deleted on the"
            " frontends; replication goes on by itself when the source holds files again"
        )
    return ""
