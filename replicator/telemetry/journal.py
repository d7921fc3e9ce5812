"""Priorities for journald: a line on standard error that begins with `<4>` is stored as a warning, see sd-daemon(3)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import TextIO

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priority of each level."""

_LINES = re.compile("^", re.MULTILINE)


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Return True if a descriptor is connected to the journal: `JOURNAL_STREAM` holds the device and inode of its socket."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def stderr_is_journal(stream: TextIO) -> bool:
    """Return True if a stream of this process is connected to the journal."""
    try:
        return is_journal(stream.fileno(), os.environ)
    except (OSError, ValueError):  # it has no descriptor
        return False


def prefixed(level: str, text: str) -> str:
    """Return a text with the priority at the beginning of each line: the journal stores each line by itself."""
    return _LINES.sub(f"<{PRIORITIES.get(level, 6)}>", text)


class Formatter(logging.Formatter):
    """Adds the priority to what libraries log through the module logging."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return prefixed(record.levelname.lower(), super().format(record))
