"""A thread that asks all the time whether names are there, on the backend and on a frontend, and how long they were not."""

import os
import threading
import time

UNSEEN = 0.03
"""Seconds between two looks after which nobody knows whether a name was there meanwhile: the machine is busy with others."""


class Presence:
    """Measures for how long names are missing.

    Args:
        paths: what to ask for.

    Attributes:
        longest: path to the longest time that it was seen to be missing without a break, in seconds.
    """

    def __init__(self, paths) -> None:
        self.longest = dict.fromkeys(paths, 0.0)
        self._gone = {}
        self._looked = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._look()
        assert not self._gone, self._gone
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self):
        while not self._stop.wait(0.0003):
            self._look()

    def _look(self):
        last, self._looked = self._looked, time.monotonic()
        if self._looked - last > UNSEEN:
            self._gone.clear()
        for path in self.longest:
            there = os.path.exists(path)
            now = time.monotonic()
            if there:
                self._gone.pop(path, None)
            else:
                since = self._gone.setdefault(path, now)
                self.longest[path] = max(self.longest[path], now - since, 1e-9)
