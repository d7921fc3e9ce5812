"""The changes that were sent on one connection and are not answered yet, how much more may be sent, and which moves are among them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from replicator.core.pace import Window
from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.engine.loop import loop_time
from replicator.errors import ProtocolError
from replicator.model import ancestors
from replicator.wire.messages import Acks

UNUSED_BYTES = 64 << 10
"""Maximum bytes of acknowledgements that a connection may be ahead of what they answer. A correct agent is ahead by a few hundred."""

ANSWER_BYTES = 4096
"""Bytes of acknowledgements allowed for each answer: a detail may have 1,000 characters."""

SIGN_OF_LIFE_BYTES = 1024
"""Bytes of acknowledgements allowed per second: an agent that hashes or copies sends one of some 60 bytes every five seconds."""

WORK = 16 << 20
"""Bytes that an agent may be hashing or copying on its own before more bulk is sent: a live change behind it has to wait."""


class InFlight(NamedTuple):
    """A change that was sent under a generation of its path, and is not answered yet.

    Attributes:
        part: the change.
        generation: the generation.
        bulk: it is not a live change.
        by_sums: it is a delta against what the frontend has summed.
    """

    part: ChangeRef
    generation: int
    bulk: bool
    by_sums: bool = False


Answered = Callable[[InFlight, str, str], None]
"""Called with (in_flight, reason, detail) for each answer; the reason is empty if the change was applied."""


class InFlightTable:
    """Matches the acknowledgements of one agent with the changes that were sent.

    Args:
        answered: called for each answer to a change that was sent with `add`.
        progress_timeout: notified of each change that is sent, and of each answer.

    Attributes:
        window: limit of the bulk bytes that the agent has not acknowledged.
    """

    def __init__(self, answered: Answered, progress_timeout: ProgressTimeout) -> None:
        self.window = Window()
        self._answered = answered
        self._progress_timeout = progress_timeout
        self._changes: dict[int, InFlight] = {}
        self._requests: dict[int, asyncio.Future[str]] = {}
        self._work = 0
        self._copying: deque[tuple[int, int]] = deque()
        self._allowed = float(UNUSED_BYTES)
        self._allowed_at = loop_time()

    def __len__(self) -> int:
        return len(self._changes) + len(self._requests)

    def __contains__(self, number: int) -> bool:
        """Return True if a change was sent with `add` and is not answered yet."""
        return number in self._changes

    def has_room(self, bytes_sent: int) -> bool:
        """Return True if more bulk may be sent after `bytes_sent` bytes."""
        return self._work < WORK and self.window.has_room(bytes_sent)

    def add(self, in_flights: Sequence[InFlight]) -> None:
        """Record changes that are about to be sent."""
        self._progress_timeout.requesting()
        for in_flight in in_flights:
            self._changes[in_flight.part.number] = in_flight
            self._work += in_flight.part.work

    def add_work(self, bytes_sent: int, work: int) -> None:
        """Record that a frame is about to be sent for which the agent copies `work` bytes; after it, `bytes_sent` bytes have been sent."""
        self._work += work
        self._copying.append((bytes_sent, work))

    @contextmanager
    def request(self, number: int) -> Iterator[asyncio.Future[str]]:
        """Record a change that is about to be sent; yield the future of its answer: the reason why it was refused, or empty."""
        self._progress_timeout.requesting()
        answer = self._requests[number] = asyncio.get_running_loop().create_future()
        try:
            yield answer
        finally:
            self._requests.pop(number, None)

    def acknowledge(self, acks: Acks, size: int, bytes_sent: int, *, is_hashing: bool) -> None:
        """Process an acknowledgement.

        Args:
            acks: the message.
            size: bytes of its frame.
            bytes_sent: bytes sent to the agent since the connection began.
            is_hashing: the agent reads contents for a listing, which is a reason for acknowledgements without news.

        Raises:
            ProtocolError: if it acknowledges what was not sent, or more bytes than its answers need.
        """
        if not self.window.taken <= acks.taken <= bytes_sent:
            raise ProtocolError(
                f"the agent has dealt with {acks.taken} bytes, after {self.window.taken}, of {bytes_sent} that were sent"
            )
        self._limit_unused(acks, size)
        if acks.done or acks.refused or is_hashing:
            self._progress_timeout.progressed()
        elif self._work:
            self._progress_timeout.alive()
        for number in acks.done:
            self._answer(number, "", "")
        for number, reason, detail in acks.refused:
            self._answer(number, reason, detail)
        while self._copying and self._copying[0][0] <= acks.taken:
            self._work -= self._copying.popleft()[1]
        if self.window.took(acks.taken, loop_time()):
            self._progress_timeout.progressed()

    def cancel_requests(self) -> None:
        """Cancel the futures of all requests: the connection has ended."""
        for answer in self._requests.values():
            answer.cancel()

    def _limit_unused(self, acks: Acks, size: int) -> None:
        """Raise ProtocolError if an agent sends more than its answers need: parsing a flood would delay all frontends.

        An agent may send as many bytes as it has read, and more for each answer.
        """
        now = loop_time()
        self._allowed += (
            acks.taken
            - self.window.taken
            + ANSWER_BYTES * (len(acks.done) + len(acks.refused))
            + SIGN_OF_LIFE_BYTES * (now - self._allowed_at)
        )
        self._allowed = min(self._allowed, UNUSED_BYTES + size) - size
        self._allowed_at = now
        if self._allowed < 0:
            raise ProtocolError("the agent acknowledges nothing, again and again")

    def _answer(self, number: int, reason: str, detail: str) -> None:
        in_flight = self._changes.pop(number, None)
        if in_flight is not None:
            self._work -= in_flight.part.work
        request = self._requests.get(number)
        if request is not None and not request.done():
            request.set_result(f"{reason}: {detail}" if reason else "")
        elif in_flight is None:
            raise ProtocolError("an answer to a change that is not under way")
        else:
            self._answered(in_flight, reason, detail)


class Moves:
    """Index of the moves in flight. All operations cost O(depth of the paths), also in a flood of renames."""

    def __init__(self) -> None:
        self._uncertain: dict[int, bool] = {}
        self._ends: Counter[Key] = Counter()
        self._above: Counter[Key] = Counter()
        self._answered = asyncio.Event()

    def __bool__(self) -> bool:
        """True while a move is in flight."""
        return bool(self._uncertain)

    def add(self, move: ChangeRef, *, uncertain: bool) -> None:
        """Add a move that is about to be sent; with `uncertain`, its target must be compared once the move is answered.

        It also is uncertain if a move in flight overlaps one of its ends: if the frontend refuses that one, this one moves
        something else than on the backend.
        """
        ends = move.ends
        self._uncertain[move.number] = uncertain or any(map(self._overlap, ends))
        for end in ends:
            self._ends[end] += 1
            self._above.update(_above(end))

    def answered(self, move: ChangeRef) -> bool:
        """Remove a move; return True if its target must be compared now, although the frontend has made the move."""
        for end in move.ends:
            _subtract(self._ends, [end])
            _subtract(self._above, _above(end))
        self._answered.set()
        return self._uncertain.pop(move.number)

    async def all_answered(self) -> None:
        """Wait until the moves that are in flight now are answered."""
        waiting = set(self._uncertain)
        while waiting := waiting & self._uncertain.keys():
            self._answered.clear()
            await self._answered.wait()

    def _overlap(self, key: Key) -> bool:
        """Return True if an end of a move in flight is at, above or below a path."""
        return (
            key in self._ends
            or key in self._above
            or any(above in self._ends for above in _above(key))
        )


def _above(key: Key) -> list[Key]:
    return [Key(key.tree, path) for path in ancestors(key.path)]


def _subtract(counter: Counter[Key], keys: list[Key]) -> None:
    for key in keys:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
