"""In-memory implementations of the discovery ports."""

from dataclasses import replace

from replicator.errors import DiscoveryError
from replicator.ports import Decision


class FakeProvider:
    """A provider that gives one answer after the other, and the last one for ever. Passes tests/contract/test_provider.py.

    Args:
        answers: a PollResult, or an exception to raise.
        name: see ports.Provider.

    Attributes:
        polls: number of polls.
    """

    certain = False
    interval = 0.001
    retry_cap = 120.0

    def __init__(self, *answers, name="script"):
        self.name = name
        self.answers = list(answers)
        self.polls = 0

    async def poll(self):
        self.polls += 1
        return next_of(self.answers)


class FakeConsole:
    """A console that shows one list of fingerprints after the other. Passes tests/contract/test_console.py.

    Args:
        answers: a list of fingerprints, or an exception to raise; the last one is repeated.
        identity: the instance that it belongs to.

    Attributes:
        asked: number of calls.
    """

    def __init__(self, *answers, identity="i-1"):
        self.answers = list(answers)
        self.asked = 0
        self._identity = identity

    async def fingerprints(self, identity):
        self.asked += 1
        if identity != self._identity:
            raise DiscoveryError(f"ec2:GetConsoleOutput: {identity} does not exist")
        return next_of(self.answers)


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


def next_of(answers):
    """Return the next answer, or raise it if it is an exception; the last one stays."""
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer
