"""A store of members in memory."""

from dataclasses import replace

from replicator.ports import Decision


class FakeMemberStore:
    """The members that were stored. Passes tests/contract/test_member_store.py.

    Args:
        known: members by the name of their provider.
    """

    def __init__(self, **known):
        self.known = known

    def load(self):
        return {name: list(members) for name, members in self.known.items()}

    def save(self, known):
        self.known = {name: list(map(_lasting, members)) for name, members in known.items()}


def _lasting(candidate):
    """Return what a store keeps of a candidate: the rest may be out of date at the next start."""
    decision = Decision.DRAIN if candidate.decision is Decision.DRAIN else Decision.SERVE
    return replace(candidate, decision=decision, reason="stored earlier", launch=None)
