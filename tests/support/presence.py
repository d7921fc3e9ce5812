"""Measure in a thread for how long paths are missing while they are renamed or replaced."""

import os
import threading
import time

UNSEEN = 0.03
"""Seconds. If the machine is so busy that two checks are further apart, the time between them does not count as missing."""


class Presence:
    """Checks continuously whether paths exist.

    Args:
        paths: the paths; they must exist at the start.

    Attributes:
        at_least: by path, the longest uninterrupted time in seconds for which it was certainly missing.
        at_most: by path, the longest time between two checks that found it: it was missing for no longer.
    """

    def __init__(self, paths) -> None:
        self.at_least = dict.fromkeys(paths, 0.0)
        self.at_most = dict.fromkeys(paths, 0.0)
        self._gone = {}
        self._found = {}
        self._checked_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._check()
        assert not self._gone, self._gone
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._check()

    def _run(self):
        while not self._stop.wait(0.0003):
            self._check()

    def _check(self):
        last, self._checked_at = self._checked_at, time.monotonic()
        if self._checked_at - last > UNSEEN:
            self._gone.clear()
        for path in self.at_least:
            before = time.monotonic()
            there = os.path.exists(path)
            now = time.monotonic()
            self.at_most[path] = max(self.at_most[path], now - self._found.get(path, now))
            if there:
                self._gone.pop(path, None)
                self._found[path] = before
            else:
                since = self._gone.setdefault(path, now)
                self.at_least[path] = max(self.at_least[path], now - since, 1e-9)
