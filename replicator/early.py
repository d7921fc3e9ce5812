"""Handle signals of `replicator serve` before its event loop runs, and after it has ended.

Python starts with default handlers: SIGHUP ends the process, and SIGINT ends it with a traceback. The imports take half a second,
and the check of the catalog more. No change is pending during that time, so SIGTERM and SIGINT exit at once with status 0; SIGHUP
is recorded, and reloads the configuration later.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)
_noted: set[int] = set()


def handle_signals() -> None:
    """Exit at once on SIGTERM or SIGINT, and record SIGHUP, until the event loop installs its own handlers."""
    for number in _STOPS:
        signal.signal(number, _end)
    signal.signal(signal.SIGHUP, _note)


def take_reload() -> bool:
    """Return True if SIGHUP was recorded, and reset the record."""
    noted = bool(_noted)
    _noted.clear()
    return noted


def ignore_signals() -> None:
    """Ignore signals after the event loop has ended, so that they do not change the exit status."""
    for number in (*_STOPS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _note(number: int, _frame: FrameType | None) -> None:
    _noted.add(number)
