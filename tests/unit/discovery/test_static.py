"""The frontends in the config."""

from replicator.discovery.static import StaticProvider
from replicator.ports import Address, Candidate, PollResult


async def test_each_is_seen_once_and_always():
    one, two = Address("one"), Address("two", "deploy", 2222)
    provider = StaticProvider([one, two, one])
    expected = PollResult((Candidate(one), Candidate(two)))
    assert [await provider.poll(), await provider.poll()] == [expected, expected]
    assert provider.certain
