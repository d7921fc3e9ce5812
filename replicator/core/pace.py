"""Rate control: backoff, batch size, token bucket and congestion window.

Times are seconds of a monotonic clock, passed in by the caller; sizes are bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Backoff(NamedTuple):
    """Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    A delay is at least a tenth of its upper bound, so that clients that failed together neither return together nor at once.

    Attributes:
        first: upper bound of the first delay, in seconds; it doubles with each failure.
        cap: the largest upper bound, in seconds.
        chance: returns a random number in 0..1.
    """

    first: float
    cap: float
    chance: Callable[[], float]

    def delay(self, attempts: int) -> float:
        """Return the delay in seconds after `attempts` (at least 1) failures in a row."""
        ceiling = min(self.cap, self.first * 2.0 ** min(attempts - 1, 60))
        return ceiling * (0.1 + 0.9 * self.chance())


class Slice:
    """Adaptive batch size: as many paths as are checked in 20 to 50 ms before the debouncer is queried again.

    On a busy machine a batch takes several times its CPU time, and smaller ones would take more of it: a batch of one path costs three
    times as much for each path as one of 64. So the time that it waits counts a quarter.

    Attributes:
        size: paths in the next batch.
    """

    FIRST = 8
    MOST = 64
    """The catalog's transaction size; larger batches are no faster."""
    SHORT, LONG = 0.02, 0.05
    """Seconds: after a batch that took less, the next is twice as large; after one that took more, a quarter as large."""
    CONTENDED = 4
    """Seconds of the clock that count as one second of CPU time."""

    def __init__(self) -> None:
        self.size = self.FIRST

    def took(self, seconds: float, cpu_seconds: float) -> None:
        """Record how long a batch has taken, and adapt the size.

        Args:
            seconds: by the clock.
            cpu_seconds: CPU time of the checks.
        """
        cost = max(cpu_seconds, seconds / self.CONTENDED)
        if cost > self.LONG:
            self.size = max(1, self.size // 4)
        elif cost < self.SHORT:
            self.size = min(self.MOST, 2 * self.size)

    def rested(self) -> None:
        """Reset the size after an idle period."""
        self.size = self.FIRST


class Streak:
    """Count of consecutive failures. It is reset only after a success has lasted STEADY seconds.

    A frontend that always fails soon after it was connected is therefore retried less and less often.
    """

    STEADY = 30.0
    """Seconds of success after which the next failure counts as the first."""

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None

    def succeeded(self, now: float) -> None:
        """Record that the success began, or continues."""
        if self._since is None:
            self._since = now

    def failed(self, now: float) -> int:
        """Record a failure; return the number of consecutive failures."""
        steady = self._since is not None and now - self._since >= self.STEADY
        self._failures = 1 if steady else self._failures + 1
        self._since = None
        return self._failures


class TokenBucket:
    """A token bucket of bytes.

    Args:
        rate: bytes per second; None: no limit.
    """

    BURST_SECONDS = 0.1
    """Capacity in seconds of the rate: above 10 MiB/s, a frame of 1 MiB is not delayed."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._tokens = 0.0
        self._at = 0.0

    def delay(self, size: int, now: float) -> float:
        """Take `size` bytes from the bucket; return the seconds to wait before sending them."""
        if self.rate is None:
            return 0.0
        burst = self.rate * self.BURST_SECONDS
        self._tokens = min(burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self.rate)


class Window:
    """Congestion window: the number of bulk bytes that may be in flight to one frontend.

    Bytes in flight delay the live change behind them. The window is adapted to the response time by additive increase and
    multiplicative decrease, as in TCP (RFC 5681).

    Attributes:
        size: the window, in bytes.
        taken: bytes that the frontend has processed since the connection began.
    """

    LEAST = 256 << 10
    MOST = 8 << 20
    STEP = 256 << 10
    TARGET = 0.05
    """Target response time in seconds: half of the 100 ms within which a live change should arrive."""

    def __init__(self) -> None:
        self.size = 1 << 20
        self.taken = 0
        self._under_way: deque[tuple[int, float]] = deque()

    def has_room(self, total: int) -> bool:
        """Return True if more may be sent after `total` bytes; always True while no frame is unanswered."""
        return not self._under_way or total - self.taken < self.size

    def sent(self, total: int, now: float) -> None:
        """Record that a frame was sent, after which `total` bytes have been sent."""
        self._under_way.append((total, now))

    def took(self, total: int, now: float) -> bool:
        """Record that the frontend has processed `total` bytes; return True if that answers at least one frame."""
        self.taken = total
        frames = len(self._under_way)
        while self._under_way and self._under_way[0][0] <= total:
            self.answered(now - self._under_way.popleft()[1])
        return len(self._under_way) < frames

    def answered(self, seconds: float) -> None:
        """Adapt the window to a response time of `seconds`."""
        if seconds > 2 * self.TARGET:
            self.size = max(self.LEAST, self.size // 2)
        elif seconds < self.TARGET:
            self.size = min(self.MOST, self.size + self.STEP)
