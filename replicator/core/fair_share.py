"""Share a rate between senders: urgent ones first, and of equals the one that has sent least.

Times are seconds of a monotonic clock, passed in by the caller; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Hashable


class FairShare:
    """A token bucket whose tokens go to one waiting sender after the other.

    Each sender has a virtual time, the bytes that it has sent (start-time fair queueing: Goyal, Vin, Cheng, 1996). One that has been idle
    begins at the virtual time of the sender that was served last, so that it cannot claim what it has not used.

    Args:
        rate: bytes per second.
    """

    BURST_SECONDS = 0.02
    """Capacity in seconds of the rate: what may be sent at once after an idle period."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tokens = 0.0
        self._at = 0.0
        self._virtual = 0.0
        self._sent: dict[Hashable, float] = {}
        self._waiting: dict[Hashable, tuple[int, bool]] = {}

    def wait(self, sender: Hashable, size: int, *, urgent: bool) -> None:
        """Queue a sender, which waits for nothing yet, for the permission to send `size` bytes."""
        self._waiting[sender] = (size, urgent)
        self._sent[sender] = max(self._virtual, self._sent.get(sender, 0.0))

    def hurry(self, sender: Hashable) -> None:
        """Make what a sender waits for urgent."""
        if sender in self._waiting:
            self._waiting[sender] = (self._waiting[sender][0], True)

    def forget(self, sender: Hashable) -> None:
        """Remove a sender."""
        self._waiting.pop(sender, None)
        self._sent.pop(sender, None)

    def next(self, now: float) -> Hashable | None:
        """Remove and return the sender that may send now; None if there is none, and then see `delay`.

        The permission is given as soon as the bucket is not empty. What exceeds its tokens is a debt, which delays the next one.
        """
        if not self._waiting or self.delay(now) > 0:
            return None
        sender = min(self._waiting, key=self._rank)
        size, _ = self._waiting.pop(sender)
        self._virtual = self._sent[sender]
        self._sent[sender] += size
        self._tokens -= size
        return sender

    def spent(self, size: int) -> None:
        """Subtract bytes that were sent without permission."""
        self._tokens -= size

    def delay(self, now: float) -> float:
        """Return the seconds until the next permission can be given."""
        full = self.rate * self.BURST_SECONDS
        self._tokens = min(full, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        # Less than a byte is no debt: rounding would leave one that no time pays off.
        return -self._tokens / self.rate if self._tokens <= -1 else 0.0

    def _rank(self, sender: Hashable) -> tuple[bool, float]:
        return not self._waiting[sender][1], self._sent[sender]
