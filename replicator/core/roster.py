"""Who the frontends are, as far as one provider's answers can be believed.

A cloud's API throttles, times out, lags behind itself, and sometimes says that there is nobody. None of that may shrink the
fleet. So an answer adds at once, but takes away slowly: who is missing is kept until several good answers in a row agree,
more of them when many are missing at once, and an answer without anybody takes away nobody at all.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PATIENCE = 2
"""Good answers in a row without a member, until it is dropped."""

MASS_PATIENCE = 4
"""The same, while more than half of all members are missing: a minute at the usual interval."""


class Roster(Generic[K, V]):
    """The last good answer of one provider.

    Args:
        members: what is believed already.
        certain: believe every answer at once and whole; for words that a person wrote.

    Attributes:
        members: who is there.
        dropped: who was said to be gone, and is believed to be.
        doubt: why the members are not what the last answer said; empty when they are.
        answered: True once there was a good answer.
    """

    def __init__(self, members: Mapping[K, V] | None = None, *, certain: bool = False) -> None:
        self.members: dict[K, V] = dict(members or {})
        self.dropped: set[K] = set()
        self.doubt = ""
        self.answered = False
        self._certain = certain
        self._misses: dict[K, int] = {}

    def answer(
        self, present: Mapping[K, V], gone: Collection[K] = (), *, complete: bool = True
    ) -> None:
        """Take in an answer.

        Args:
            present: whom the provider sees.
            gone: of whom it says that they are gone.
            complete: False if somebody may be there without being in the answer.
        """
        self.doubt = ""
        known = len(self.members)
        missing = [member for member in self.members if member not in present]
        self.members.update(present)
        self.dropped -= set(present)
        if self._certain:
            self.members = dict(present)
        elif not present and not gone and known:
            self.doubt = f"the answer was empty: keeping {known}"
        else:
            self._miss(missing, gone, known=known, complete=complete)
        self.answered = True

    def _miss(self, missing: list[K], gone: Collection[K], *, known: int, complete: bool) -> None:
        mass = len(missing) * 2 > known
        needed = MASS_PATIENCE if mass else PATIENCE
        counted = [member for member in {*missing, *gone} if complete or member in gone]
        self._misses = {member: self._misses.get(member, 0) + 1 for member in counted}
        for member, misses in self._misses.items():
            if misses >= needed:
                self.members.pop(member, None)
                if member in gone:
                    self.dropped.add(member)
        self.dropped &= set(gone)
        kept = [member for member in missing if member in self.members]
        if kept and not complete:
            self.doubt = f"the answer was incomplete: keeping {len(kept)} that are not in it"
        elif kept and mass:
            self.doubt = f"{len(missing)} of {known} vanished at once: kept until {MASS_PATIENCE} answers agree"
