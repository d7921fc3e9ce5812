"""How fast: delays between attempts, a byte budget over time, and how much may be under way at once.

Times are seconds of a monotonic clock, given by the caller; sizes are bytes.
"""

from __future__ import annotations

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
    """

    LEAST = 256 << 10
    MOST = 8 << 20
    STEP = 256 << 10
    TARGET = 0.05
    """Seconds from sending to answer that we aim for: half of the 100 ms in which a live change should arrive."""

    def __init__(self) -> None:
        self.size = 1 << 20

    def answered(self, seconds: float) -> None:
        """An answer came `seconds` after its frame was sent."""
        if seconds > 2 * self.TARGET:
            self.size = max(self.LEAST, self.size // 2)
        elif seconds < self.TARGET:
            self.size = min(self.MOST, self.size + self.STEP)
