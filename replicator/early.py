"""Signals that reach `replicator serve` before its event loop handles them, and after it has ended.

By default SIGHUP ends a process, and SIGINT ends it with a traceback: for the half second that the imports take, and while the
catalog is checked. Nothing is owed then, so an end is an end at once, with status 0; a reload is noted.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)
_noted: set[int] = set()


def handle_signals() -> None:
    """End at once when told to stop, and note a reload, until the event loop takes over."""
    for number in _STOPS:
        signal.signal(number, _end)
    signal.signal(signal.SIGHUP, _note)


def take_reload() -> bool:
    """Return True, once, if a reload was asked for before the event loop took over."""
    noted = bool(_noted)
    _noted.clear()
    return noted


def ignore_signals() -> None:
    """Ignore what comes after the end: the exit status is decided."""
    for number in (*_STOPS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _note(number: int, _frame: FrameType | None) -> None:
    _noted.add(number)
