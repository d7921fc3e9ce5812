"""What `discovery.exclude` names, or this machine, is in no provider's answer."""

import pytest

from replicator.app import providers, providers_of
from replicator.config import parse
from replicator.discovery.aws.client import Aws
from replicator.discovery.excluding import Excluding
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, PollResult
from tests.support import aws as cloud
from tests.support.fakes.answers import next_of
from tests.support.fakes.provider import FakeProvider

ONE = Candidate(Address("10.0.0.1"), identity="i-1")
TWO = Candidate(Address("10.0.0.2"), identity="i-2")
UNKNOWN = Candidate(Address("10.0.0.3"))


def provider(**more):
    return FakeProvider(PollResult((ONE, TWO, UNKNOWN), **more))


class Metadata:
    """Gives the id of this machine after some errors."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return next_of(self.answers)


async def test_hosts_and_identities_are_left_out():
    answer = await Excluding(provider(), ["10.0.0.1", "i-2"]).poll()
    assert answer.candidates == (UNKNOWN,)
    assert (await Excluding(provider(), []).poll()).candidates == (ONE, TWO, UNKNOWN)


async def test_an_excluded_instance_without_an_address_is_no_member_to_keep():
    missing = frozenset({"i-8", "i-9"})
    answer = await Excluding(provider(unlocated=missing), ["i-9"]).poll()
    assert answer.unlocated == {"i-8"}


async def test_the_rest_of_an_answer_stays():
    answer = await Excluding(provider(complete=False, notes=("A call failed.",)), ["i-2"]).poll()
    assert (answer.complete, answer.notes) == (False, ("A call failed.",))


async def test_an_incomplete_answer_with_excluded_frontends_only_is_an_error():
    part = provider(complete=False, notes=("web has no address.",))
    with pytest.raises(DiscoveryError, match="web has no address"):
        await Excluding(part, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]).poll()
    answer = await Excluding(provider(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]).poll()
    assert answer.candidates == ()


async def test_this_machine_is_asked_for_once_and_left_out():
    own = Metadata("i-1")
    excluding = Excluding(provider(), [], own)
    for _ in range(2):
        answer = await excluding.poll()
        assert answer.candidates == (TWO, UNKNOWN)
        assert answer.notes == ()
    assert own.asked == 1


async def test_an_unknown_machine_is_a_note_and_asked_for_again():
    own = Metadata(DiscoveryError("no metadata service"), "i-2")
    excluding = Excluding(provider(notes=("first",)), [], own)
    answer = await excluding.poll()
    assert answer.candidates == (ONE, TWO, UNKNOWN)
    assert answer.notes[0] == "first"
    assert "no metadata service" in answer.notes[1]
    assert "name it in discovery.exclude" in answer.notes[1]
    answer = await excluding.poll()
    assert (answer.candidates, answer.notes) == ((ONE, UNKNOWN), ("first",))


async def test_a_configured_list_needs_no_metadata_request():
    own = Metadata()
    await Excluding(provider(), ["i-1"], own).poll()
    assert own.asked == 0


@pytest.mark.parametrize("provider", ["file", "dns"])
async def test_what_the_configuration_excludes_is_in_no_answer(tmp_path, provider):
    listed = tmp_path / "frontends.json"
    listed.write_text('["10.0.0.1", {"address": "10.0.0.2", "identity": "vm-7"}, "10.0.0.3"]')
    where = {"path": str(listed)} if provider == "file" else {"name": ["10.0.0.1", "10.0.0.3"]}
    discovery = {"provider": provider, "exclude": ["10.0.0.1", "vm-7"], **where}
    config = parse({"discovery": discovery, "tree": [{"source": "/srv"}]}, base=tmp_path)
    answers = [await one.poll() for one in providers_of(config, aws=None)]
    assert [s.address.host for answer in answers for s in answer.candidates] == ["10.0.0.3"]


async def test_this_instance_is_no_frontend_of_its_own_load_balancer_or_group(
    tmp_path, monkeypatch
):
    cloud.set_credentials(monkeypatch)
    monkeypatch.setattr(providers, "own_instance", lambda: "i-1")
    discovery = {"provider": "alb", "target_groups": ["web"], "auto_scaling_groups": ["shop"]}
    config = parse({"discovery": discovery, "tree": [{"source": "/srv"}]}, base=tmp_path)
    with cloud.Recorded(
        DescribeTargetGroups=cloud.target_groups("web", kind="instance"),
        DescribeTargetHealth=cloud.health(("i-1", "healthy"), ("i-2", "healthy")),
        DescribeAutoScalingGroups=cloud.scaling_group("shop", ("i-1", "InService"), ("i-2", "InService")),
        DescribeInstances=cloud.instances(("i-1", "running", "10.0.0.1"), ("i-2", "running", "10.0.0.2")),
    ) as api:  # fmt: skip
        aws = Aws(region=cloud.REGION, endpoint_url=api.url)
        polled = [await one.poll() for one in providers_of(config, aws)]
        aws.close()
    found = [[s.identity for s in answer.candidates] for answer in polled]
    assert found == [[], ["i-2"], ["i-2"]]
