"""Contract of ports.Console: Ec2Console over recorded answers of the EC2 API and FakeConsole pass the same tests."""

import base64

import pytest

from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.console import Ec2Console
from replicator.errors import DiscoveryError
from tests.support import aws as cloud
from tests.support.fakes.console import FakeConsole

ONE, TWO = ("SHA256:" + letter * 43 for letter in "ab")


class Ec2:
    """An instance that prints to its console."""

    def __init__(self, patch):
        cloud.set_credentials(patch)
        self._api = cloud.Recorded(GetConsoleOutput=self._answer).__enter__()
        self._aws = Aws(region=cloud.REGION, endpoint_url=self._api.url)
        self.console = Ec2Console(self._aws)
        self.show()

    def _answer(self, fields):
        if fields["InstanceId"] != "i-1":
            return cloud.ec2_error("InvalidInstanceID.NotFound", "The instance does not exist")
        return self._output

    def show(self, *fingerprints):
        begin, end = (f"-----{word} SSH HOST KEY FINGERPRINTS-----" for word in ("BEGIN", "END"))
        lines = [f"ci-info: 256 {fingerprint} root@host (ED25519)" for fingerprint in fingerprints]
        text = "\n".join([begin, *lines, end] if lines else ["booting"])
        encoded = base64.b64encode(text.encode()).decode()
        self._output = f"<GetConsoleOutputResponse><instanceId>i-1</instanceId><output>{encoded}</output></GetConsoleOutputResponse>"

    def fail(self):
        self._output = cloud.ec2_error("UnauthorizedOperation", "no", 403)

    def close(self):
        self._aws.close()
        self._api.__exit__()


class Fake:
    """A FakeConsole."""

    def __init__(self, _patch):
        self.console = FakeConsole([])

    def show(self, *fingerprints):
        self.console.answers[:] = [list(fingerprints)]

    def fail(self):
        self.console.answers[:] = [DiscoveryError("ec2:GetConsoleOutput is missing")]

    def close(self):
        pass


@pytest.fixture(params=[Ec2, Fake], ids=lambda made: made.__name__)
def world(request, monkeypatch):
    made = request.param(monkeypatch)
    yield made
    made.close()


async def test_it_returns_the_fingerprints_that_were_printed_and_none_before(world):
    assert list(await world.console.fingerprints("i-1")) == []
    world.show(ONE, TWO)
    assert list(await world.console.fingerprints("i-1")) == [ONE, TWO]


async def test_a_console_that_cannot_be_read_is_a_discovery_error(world):
    with pytest.raises(DiscoveryError):
        await world.console.fingerprints("i-2")
    world.fail()
    with pytest.raises(DiscoveryError, match="ec2:GetConsoleOutput is missing"):
        await world.console.fingerprints("i-1")
