"""How far the filling of a frontend has got."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.pending import Key


@dataclass
class Progress:
    """How far a frontend's comparison has got; sizes in bytes, times in seconds of the loop's clock."""

    files_total: int = 0
    files_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    started: float = 0.0
    ended: float | None = None
    costs: dict[Key, int] = field(default_factory=dict)

    def expect(self, key: Key, size: int) -> None:
        """A path will have to be sent."""
        self.costs[key] = size
        self.files_total += 1
        self.bytes_total += size

    def arrived(self, key: Key) -> None:
        """A path has been sent."""
        size = self.costs.pop(key, None)
        if size is not None:
            self.files_done += 1
            self.bytes_done += size
