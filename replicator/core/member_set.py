"""Debounced membership: the frontends that one provider reports.

A cloud API throttles, times out, returns stale data, and sometimes returns an empty list. None of these may shrink the fleet.
New members are therefore added at once, and missing ones removed only after several consecutive answers without them: more answers
while many are missing. An empty answer removes no member. The list of an operator is accepted at once (`certain`).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

CONFIRMATIONS = 2
"""Consecutive answers without a member before it is removed."""

MASS_CONFIRMATIONS = 4
"""The same while more than half of all members are missing: one minute at the default interval."""


class MemberSet(Generic[K, V]):
    """Debounced members of one provider.

    Args:
        members: initial members, such as those that were saved.
        certain: replace the members with every answer; for lists that an operator wrote.

    Attributes:
        members: the current members.
        dropped: members that were removed because the provider reported them as gone, and still does.
        doubt: why the last answer is not accepted as it is: empty, incomplete, or without most of the members; empty if it is.
        answered: True after the first answer.
        is_known: True after the first complete answer: `members` holds everything that the provider knows.
    """

    def __init__(self, members: Mapping[K, V] | None = None, *, certain: bool = False) -> None:
        self.members: dict[K, V] = dict(members or {})
        self.dropped: set[K] = set()
        self.doubt = ""
        self.answered = self.is_known = False
        self._certain = certain
        self._misses: dict[K, int] = {}

    def answer(
        self, present: Mapping[K, V], gone: Collection[K] = (), *, complete: bool = True
    ) -> None:
        """Update the members from one successful answer.

        Args:
            present: members in the answer.
            gone: members that the provider reports as gone.
            complete: False if the answer may lack members; then only those in `gone` count as missing.
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
        self.is_known = self.is_known or complete

    def _miss(self, missing: list[K], gone: Collection[K], *, known: int, complete: bool) -> None:
        mass = len(missing) * 2 > known
        needed = MASS_CONFIRMATIONS if mass else CONFIRMATIONS
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
            self.doubt = f"{len(missing)} of {known} vanished at once: kept until {MASS_CONFIRMATIONS} answers agree"
