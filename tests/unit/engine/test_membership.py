"""Membership: no error of a provider removes a member."""

import asyncio
import errno
from itertools import pairwise

import pytest

from replicator.core.member_set import MemberSet
from replicator.engine.fleet.membership import Membership, merged
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, Launch, PollResult
from replicator.shortage import shortage
from tests.support.fakes.member_store import FakeMemberStore
from tests.support.fakes.provider import FakeProvider
from tests.support.waiting import eventually


def seen(host, **more):
    return Candidate(Address(host), **more)


def poll(*hosts, **more):
    return PollResult(tuple(seen(host) for host in hosts), **more)


class Fleet:
    def __init__(self):
        self.hosts = set()
        self.history = []

    def set_members(self, candidates, drop):
        hosts = {s.address.host for s in candidates}
        self.hosts = hosts if drop else self.hosts | hosts
        self.history.append(set(self.hosts))


async def run(*providers, until, memory=None):
    """Run until a condition holds; return the fleet and the membership."""
    fleet = Fleet()
    membership = Membership(providers, fleet.set_members, lambda: 0.5, memory)
    task = asyncio.get_running_loop().create_task(membership.run())
    try:
        await eventually(lambda: until(fleet), lambda: fleet.history)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return fleet, membership


class Hanging(FakeProvider):
    """Answers when it is released."""

    def __init__(self):
        super().__init__(poll("a"))
        self.released = asyncio.Event()

    async def poll(self):
        await self.released.wait()
        return await super().poll()


async def test_a_provider_that_hangs_counts_as_failed_until_it_answers(monkeypatch):
    monkeypatch.setattr("replicator.engine.fleet.membership.HUNG", 0.02)
    provider = Hanging()
    membership = Membership([provider], Fleet().set_members, lambda: 0.5)
    task = asyncio.get_running_loop().create_task(membership.run())
    try:
        await eventually(lambda: membership.describe()[0]["failures"] > 1, membership.describe)
        assert "has not answered" in membership.describe()[0]["error"]
        provider.released.set()
        await eventually(lambda: membership.describe()[0]["answered"], membership.describe)
        assert (membership.describe()[0]["failures"], membership.describe()[0]["error"]) == (0, "")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


FAILURES = [
    DiscoveryError("elasticloadbalancing:DescribeTargetHealth: Throttling: Rate exceeded"),
    DiscoveryError("no answer in time"),
    RuntimeError("a bug of ours"),
    poll(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=["throttled", "timeout", "bug", "empty"])
async def test_an_error_removes_no_member_and_the_provider_is_polled_again(failure):
    script = FakeProvider(poll("a", "b"), *[failure] * 10, poll("a", "b", "c"))
    fleet, _ = await run(script, until=lambda fleet: "c" in fleet.hosts)
    assert all({"a", "b"} <= hosts for hosts in fleet.history)
    assert script.polls >= 12


@pytest.mark.parametrize(
    "error", [OSError(errno.ENFILE, "x"), RuntimeError("can't start new thread"), MemoryError()]
)
async def test_a_poll_for_which_the_backend_lacks_something_says_what(error):
    provider = FakeProvider(error)
    membership = Membership([provider], lambda *_: None, lambda: 0.5)
    running = asyncio.ensure_future(membership.run())
    await eventually(lambda: membership.describe()[0]["error"], "the error")
    running.cancel()
    assert membership.describe()[0]["error"] == shortage(error)


async def test_a_provider_whose_polls_cost_nothing_is_polled_at_its_interval_after_any_number_of_errors():
    """With pauses that double, the last of these would be 32 s long."""
    script = FakeProvider(*[DiscoveryError("line 2: half written")] * 16, poll("a"))
    script.retry_cap = 0.0
    await run(script, until=lambda fleet: "a" in fleet.hosts)


async def test_a_member_that_is_missing_in_two_consecutive_answers_is_removed():
    script = FakeProvider(poll("a", "b", "c"), poll("a", "b"))
    fleet, _ = await run(script, until=lambda fleet: fleet.hosts == {"a", "b"})
    assert fleet.history.count({"a", "b", "c"}) == 2


async def test_half_of_the_fleet_is_not_removed_by_two_answers():
    script = FakeProvider(poll("a", "b", "c", "d"), poll("a"))
    fleet, _ = await run(script, until=lambda fleet: fleet.hosts == {"a"})
    assert fleet.history.count({"a", "b", "c", "d"}) == 4


async def test_a_failing_provider_is_shown_with_its_error_and_its_notes_are_passed_on():
    failing = FakeProvider(DiscoveryError("throttled"), name="failing")
    noting = FakeProvider(poll("a", notes=("mind the gap",)), name="noting")
    _, membership = await run(
        failing, noting, until=lambda fleet: fleet.hosts and failing.polls > 2
    )
    first, second = membership.describe()
    assert (first["provider"], first["error"]) == ("failing", "throttled")
    assert first["failures"] > 1
    assert second["notes"] == ["mind the gap"]
    assert second["members"] == 1


class Timed(FakeProvider):
    """Remembers when it was polled."""

    def __init__(self, *answers):
        super().__init__(*answers)
        self.times = []

    async def poll(self):
        self.times.append(asyncio.get_running_loop().time())
        return await super().poll()


async def pauses(provider, count, chance):
    """Poll a provider, and return the first pauses in seconds."""
    membership = Membership([provider], Fleet().set_members, chance)
    task = asyncio.get_running_loop().create_task(membership.run())
    await eventually(lambda: len(provider.times) > count, "polls")
    task.cancel()
    return [later - earlier for earlier, later in pairwise(provider.times)][:count]


@pytest.mark.usefixtures("clock")
async def test_the_pauses_after_errors_grow():
    provider = Timed(DiscoveryError("throttled"))
    provider.interval = 15.0
    found = await pauses(provider, 5, lambda: 1.0)
    assert found == pytest.approx([15.0, 30.0, 60.0, 120.0, 120.0])


@pytest.mark.usefixtures("clock")
async def test_after_a_success_the_pause_is_the_interval_plus_or_minus_a_tenth():
    provider = Timed(poll("a"))
    provider.interval = 10.0
    chances = iter([0.0, 1.0] + [0.5] * 1000)
    assert await pauses(provider, 3, lambda: next(chances)) == pytest.approx([9.0, 11.0, 10.0])


async def test_after_a_restart_during_an_outage_the_members_are_the_stored_ones():
    memory = FakeMemberStore(script=[seen("a"), seen("b")])
    script = FakeProvider(*[DiscoveryError("down")] * 3, poll("b", "c"))
    fleet, _ = await run(script, memory=memory, until=lambda fleet: "c" in fleet.hosts)
    assert fleet.history[0] == {"a", "b"}
    assert {s.address.host for s in memory.known["script"]} >= {"b", "c"}


async def test_no_member_is_removed_before_every_provider_has_answered():
    slow = FakeProvider(*[DiscoveryError("down")] * 5, poll("b", "c"), name="slow")
    quick = FakeProvider(poll("a"), name="quick")
    fleet = Fleet()
    fleet.hosts = {"a", "b"}  # from before a reload
    membership = Membership([quick, slow], fleet.set_members, lambda: 0.5)
    task = asyncio.get_running_loop().create_task(membership.run())
    await eventually(lambda: "c" in fleet.hosts, "the slow one")
    task.cancel()
    assert all("b" in hosts for hosts in fleet.history)


async def test_a_member_whose_address_an_answer_lacks_keeps_the_known_one():
    known = PollResult((seen("a", identity="i-1"), seen("b", identity="i-2")))
    hidden = PollResult((seen("b", identity="i-2"),), unlocated=frozenset({"i-1"}))
    end = PollResult((seen("b", identity="i-2"), seen("c")), unlocated=frozenset({"i-1"}))
    script = FakeProvider(known, *[hidden] * 9, end)
    fleet, _ = await run(script, until=lambda fleet: "c" in fleet.hosts)
    assert all("a" in hosts for hosts in fleet.history)


async def test_a_flapping_instance_is_never_removed():
    script = FakeProvider(*[poll("a", "b", "c"), poll("b", "c")] * 5, poll("a", "b", "c", "end"))
    fleet, _ = await run(script, until=lambda fleet: "end" in fleet.hosts)
    assert all("a" in hosts for hosts in fleet.history)


def member_set(*candidates, dropped=()):
    made = MemberSet({s.address: s for s in candidates})
    made.dropped |= {Address(host) for host in dropped}
    return made


def test_the_first_provider_is_the_source_and_the_others_add_their_data():
    launch = Launch("g", "h", "i-1", 60.0)
    balancer = member_set(seen("a", source="alb", identity="i-1"))
    scaling = member_set(seen("a", source="asg", launch=launch), seen("b", source="asg"))
    one, two = merged([balancer, scaling])
    assert (one.source, one.identity, one.launch) == ("alb", "i-1", launch)
    assert two.source == "asg"


def test_a_frontend_that_the_settings_list_with_user_and_port_is_one_frontend():
    named = Candidate(Address("a", "deploy", 2222))
    (one,) = merged([member_set(named), member_set(seen("a", source="alb", identity="i-1"))])
    assert (one.address, one.identity) == (Address("a", "deploy", 2222), "i-1")


def test_a_frontend_that_drains_for_one_provider_drains():
    one, other = member_set(seen("a")), member_set(seen("a", decision=Decision.DRAIN))
    assert [s.decision for s in merged([one, other])] == [Decision.DRAIN]


def test_a_frontend_that_one_provider_knows_to_be_gone_is_removed_although_another_lists_it():
    assert merged([member_set(seen("a"), seen("b")), member_set(dropped=["a"])]) == [seen("b")]
