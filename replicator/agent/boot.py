"""Identify the current boot of the machine, and remove a ready file that was written in another boot.

After a power failure a frontend may lack files that its agent had acknowledged. A ready file that survived would announce it as
ready for visitors.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from replicator.agent.descriptors import keeping_time
from replicator.errors import PathRefused
from replicator.files.confined import Confined
from replicator.model import check_path

MOST = 4096
"""Bytes read of a ready file, which has about 100."""

_LINE = b"boot: "


def current() -> str:
    """Return the id of the current boot; empty if the kernel does not provide one."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def remove_of_another(tree: Confined, path: bytes, boot: str) -> None:
    """Remove the ready file at `path` if it was written in another boot.

    Errors are ignored, because the backend does the same a moment later.
    """
    with suppress(OSError, PathRefused):
        fd = tree.open_file(check_path(path))
        try:
            written_now = _is_of(fd, boot.encode())
        finally:
            os.close(fd)
        if not written_now:
            at, name = tree.locate(path)
            with keeping_time(at):
                os.unlink(name, dir_fd=at)


def _is_of(fd: int, boot: bytes) -> bool:
    named = [line for line in os.pread(fd, MOST, 0).splitlines() if line.startswith(_LINE)]
    if named:
        return named == [_LINE + boot]
    # Earlier releases did not write the boot id: compare the file's change time with the time of the boot.
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return os.fstat(fd).st_ctime >= began
