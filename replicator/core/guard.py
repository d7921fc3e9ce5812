"""When a source is in doubt, so that nothing must be deleted because of it.

An unmounted volume looks like an empty directory (lsyncd wiped its targets for it), a wrong one like another tree. A human
who empties an upload directory by hand is seen doing it, file by file, and is believed.
"""

from __future__ import annotations

_CALM = "Nothing is deleted on the frontends, and replication goes on by itself when the source is back."


def doubt(*, known: int, met: int, vanished: int, replaced: bool) -> str:
    """Return why a full walk's result must not be believed; empty if it may.

    Args:
        known: paths that the catalog held.
        met: paths that the walk met.
        vanished: paths that were known and not met.
        replaced: the root is another directory (device, inode) than the one that the catalog describes. By itself that is
            no reason: device numbers change with a reboot, and a restored backup is a new directory.
    """
    if known and not met:
        return f"The source is empty, but {known} paths were known: is its volume mounted? {_CALM}"
    if replaced and 2 * vanished > known:
        return (
            f"The source is another directory than before, and {vanished} of {known} known paths are not in it:"
            f" is the right volume mounted? {_CALM}"
        )
    return ""
