"""Contract of ports.Provider: all providers and FakeProvider pass the same tests (the load balancer over moto's HTTP API)."""

import socket
import uuid

import pytest

from replicator.discovery.aws.balancer import BalancerProvider
from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.scaling import ScalingProvider
from replicator.discovery.dns import DnsProvider
from replicator.discovery.excluding import Excluding
from replicator.discovery.file import FileProvider
from replicator.discovery.static import StaticProvider
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, PollResult
from tests.support import aws as cloud
from tests.support.fakes.provider import FakeProvider

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


class Static:
    """A configured list; a change of it makes another provider."""

    can_fail = False

    def __init__(self, *_):
        self.set()

    def set(self, *hosts):
        self.provider = StaticProvider(map(Address, hosts))

    def close(self):
        pass


class File:
    """A file with a line for each frontend."""

    can_fail = True

    def __init__(self, directory, *_):
        self._path = directory / "frontends"
        self.set()
        self.provider = FileProvider(str(self._path), interval=1.0)

    def set(self, *hosts):
        self._path.write_text("\n".join(hosts))

    def fail(self):
        self._path.write_text(f"{ONE}\nhalf a li")

    def close(self):
        pass


class Dns:
    """A name with an address for each frontend; the resolver is a fake."""

    can_fail = True

    def __init__(self, *_):
        self._hosts = []
        self.provider = DnsProvider([Address("web")], interval=1.0, resolve=self._resolve)

    async def _resolve(self, _host):
        if self._hosts is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in self._hosts]

    def set(self, *hosts):
        self._hosts = hosts

    def fail(self):
        self._hosts = None

    def close(self):
        pass


class Balancer:
    """A target group of moto, with targets by address."""

    can_fail = True

    def __init__(self, _directory, patch, request):
        cloud.set_credentials(patch)
        self._moto = request.getfixturevalue("moto")
        self._group = self._moto.target_group(f"g{uuid.uuid4().hex[:16]}", "ip")
        self._hosts = ()
        self._aws = Aws(region=cloud.REGION, endpoint_url=self._moto.url)
        self.provider = BalancerProvider(
            self._aws,
            target_groups=[self._group],
            load_balancers=[],
            interval=1.0,
        )

    def set(self, *hosts):
        if self._hosts:
            self._moto.deregister(self._group, *self._hosts)
        if hosts:
            self._moto.register(self._group, *hosts)
        self._hosts = hosts

    def fail(self):
        self._moto.elb.delete_target_group(TargetGroupArn=self._group)

    def close(self):
        self._aws.close()


class Scaling:
    """An Auto Scaling group; the endpoint returns recorded answers."""

    can_fail = True

    def __init__(self, _directory, patch, _request):
        cloud.set_credentials(patch)
        self._server = cloud.Recorded().__enter__()
        self._aws = Aws(region=cloud.REGION, endpoint_url=self._server.url)
        self.provider = ScalingProvider(self._aws, groups=["shop"], hook="", interval=1.0)

    def set(self, *hosts):
        rows = [(f"i-{host}", "running", host) for host in dict.fromkeys(hosts)]
        members = [(identity, "InService") for identity, _, _ in rows]
        self._server.answers |= {
            "DescribeAutoScalingGroups": cloud.scaling_group("shop", *members),
            "DescribeInstances": cloud.instances(*rows),
        }

    def fail(self):
        self._server.answers["DescribeAutoScalingGroups"] = cloud.error("AccessDenied", "no", 403)

    def close(self):
        self._aws.close()
        self._server.__exit__()


class Excluded(File):
    """A file, of which hosts that are never listed here are excluded."""

    def __init__(self, *given):
        super().__init__(*given)
        self.provider = Excluding(self.provider, ["10.0.0.9"])


class Fake:
    """A FakeProvider."""

    can_fail = True

    def __init__(self, *_):
        self.provider = FakeProvider(PollResult(()))

    def set(self, *hosts):
        answer = PollResult(tuple(Candidate(Address(host)) for host in dict.fromkeys(hosts)))
        self.provider.answers[:] = [answer]

    def fail(self):
        self.provider.answers[:] = [DiscoveryError("no answer in time")]

    def close(self):
        pass


@pytest.fixture(scope="module")
def moto():
    with cloud.Cloud() as made:
        yield made


@pytest.fixture(
    params=[Static, File, Dns, Balancer, Scaling, Excluded, Fake], ids=lambda made: made.__name__
)
def world(request, tmp_path, monkeypatch):
    made = request.param(tmp_path, monkeypatch, request)
    yield made
    made.close()


async def poll(world):
    answer = await world.provider.poll()
    return answer, sorted(candidate.address.host for candidate in answer.candidates)


async def test_every_frontend_is_in_the_answer_once(world):
    world.set(ONE, TWO, ONE)
    answer, hosts = await poll(world)
    assert hosts == [ONE, TWO]
    assert (answer.complete, answer.notes, answer.unlocated) == (True, (), frozenset())
    assert {candidate.decision for candidate in answer.candidates} == {Decision.SERVE}
    assert all(candidate.source for candidate in answer.candidates)


async def test_each_poll_returns_the_current_frontends(world):
    world.set(ONE, TWO)
    await poll(world)
    world.set(TWO, THREE)
    assert (await poll(world))[1] == [TWO, THREE]


async def test_no_frontends_are_an_answer_as_well(world):
    world.set()
    assert (await poll(world))[1] == []


async def test_a_poll_that_fails_is_a_discovery_error_with_a_reason(world):
    if not world.can_fail:
        pytest.skip("a configured list is always known")
    world.set(ONE)
    await poll(world)
    world.fail()
    for _ in range(2):
        with pytest.raises(DiscoveryError) as caught:
            await poll(world)
        assert str(caught.value)


def test_a_provider_has_a_name_an_interval_and_a_cap_for_retries(world):
    provider = world.provider
    assert provider.name
    assert provider.interval > 0
    assert provider.retry_cap >= 0
    # Only the list of an operator replaces all members at once; a service may answer with too little.
    assert provider.certain == isinstance(provider, StaticProvider)
