"""A provider whose answers are scripted."""

from tests.support.fakes.answers import next_of


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
