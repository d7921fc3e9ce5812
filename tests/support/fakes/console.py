"""A console whose answers are scripted."""

from replicator.errors import DiscoveryError
from tests.support.fakes.answers import next_of


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
