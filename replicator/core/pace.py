"""How fast: delays between attempts, a byte budget over time, and how much may be under way at once.

Times are seconds of a monotonic clock, given by the caller; sizes are bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Backoff(NamedTuple):
    """Delays that double, with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Never less than a tenth, so that a crowd that failed together does not come back together, nor at once.

    Attributes:
        first: the first delay's upper end.
        cap: the longest delay.
        chance: returns a random number in 0..1.
    """

    first: float
    cap: float
    chance: Callable[[], float]

    def delay(self, attempts: int) -> float:
        """Return how long to wait after so many (at least 1) failures in a row."""
        ceiling = min(self.cap, self.first * 2.0 ** min(attempts - 1, 60))
        return ceiling * (0.1 + 0.9 * self.chance())


class Slice:
    """How many paths are looked at before the debouncer is asked again, so that this takes some 20 ms.

    Attributes:
        size: paths.
    """

    FIRST = 8
    MOST = 64
    """As many as share one transaction of the catalog: more would save nothing."""
    SHORT, LONG = 0.02, 0.05
    """Seconds: a slice that takes less makes the next one larger, one that takes more makes it smaller."""

    def __init__(self) -> None:
        self.size = self.FIRST

    def took(self, seconds: float) -> None:
        """A slice has taken so long."""
        if seconds > self.LONG:
            self.size = max(1, self.size // 4)
        elif seconds < self.SHORT:
            self.size = min(self.MOST, 2 * self.size)

    def rested(self) -> None:
        """There was nothing to do: begin anew."""
        self.size = self.FIRST


class Streak:
    """Failures in a row. Only a success that has lasted ends the row: who fails as soon as it is live is tried ever more rarely."""

    STEADY = 30.0
    """Seconds of success after which a failure is a first one."""

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None

    def succeeded(self, now: float) -> None:
        """It has come as far as it shall, or still is there."""
        if self._since is None:
            self._since = now

    def failed(self, now: float) -> int:
        """It has failed; return how often in a row."""
        steady = self._since is not None and now - self._since >= self.STEADY
        self._failures = 1 if steady else self._failures + 1
        self._since = None
        return self._failures


class TokenBucket:
    """A byte budget that refills with time; None as rate means no limit."""

    BURST_SECONDS = 0.1
    """A frame of 1 MiB passes at once above 10 MiB/s; a tenth of a second is what a person does not notice."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._tokens = 0.0
        self._at = 0.0

    def delay(self, size: int, now: float) -> float:
        """Take `size` bytes from the budget; return how long to wait before sending them."""
        if self.rate is None:
            return 0.0
        burst = self.rate * self.BURST_SECONDS
        self._tokens = min(burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self.rate)


class Window:
    """How many bulk bytes may be under way to one frontend.

    Whatever is under way delays the live change behind it, so the window follows the answers: it shrinks when one takes
    long and grows while they come fast (additive increase, multiplicative decrease, as TCP does).

    Attributes:
        size: bytes.
        taken: of all bytes since the beginning, how many the frontend has dealt with.
    """

    LEAST = 256 << 10
    MOST = 8 << 20
    STEP = 256 << 10
    TARGET = 0.05
    """Seconds from sending to answer that we aim for: half of the 100 ms in which a live change should arrive."""

    def __init__(self) -> None:
        self.size = 1 << 20
        self.taken = 0
        self._under_way: deque[tuple[int, float]] = deque()

    def has_room(self, total: int) -> bool:
        """Return True if more may follow after `total` bytes. While no frame waits for its answer it always may."""
        return not self._under_way or total - self.taken < self.size

    def sent(self, total: int, now: float) -> None:
        """A frame is sent; with it, `total` bytes."""
        self._under_way.append((total, now))

    def took(self, total: int, now: float) -> bool:
        """The frontend has dealt with `total` bytes; return True if that answers a frame."""
        self.taken = total
        frames = len(self._under_way)
        while self._under_way and self._under_way[0][0] <= total:
            self.answered(now - self._under_way.popleft()[1])
        return len(self._under_way) < frames

    def answered(self, seconds: float) -> None:
        """An answer came `seconds` after its frame was sent."""
        if seconds > 2 * self.TARGET:
            self.size = max(self.LEAST, self.size // 2)
        elif seconds < self.TARGET:
            self.size = min(self.MOST, self.size + self.STEP)
