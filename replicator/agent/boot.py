"""Which boot of its machine this agent runs in; and the ready file, which is believed only in the boot that it was written in.

After a power cut a frontend may lack files that it had acknowledged, while its ready file is there: visitors would come.
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
"""Bytes of a ready file that are read; it has about a hundred."""

_LINE = b"boot: "


def current() -> str:
    """Return the id of this boot; empty where the kernel does not say."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def remove_of_another(tree: Confined, path: bytes, boot: str) -> None:
    """Remove a ready file that was written in another boot; best effort, because the backend does the same a moment later."""
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
    # The release before did not write the boot: the file's time must do.
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return os.fstat(fd).st_ctime >= began
