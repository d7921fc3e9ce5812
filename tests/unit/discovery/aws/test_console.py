"""Fingerprints on a console: cloud-init's block, whatever stands around it."""

import base64
import time

import pytest

from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.console import Ec2Console, printed
from replicator.errors import DiscoveryError
from tests.support import aws as cloud
from tests.support.aws import REGION, Recorded

ONE = "SHA256:" + "a" * 43
TWO = "SHA256:" + "b/+9" * 10 + "xyz"
BOOT = f"""[    3.14] systemd: started
ci-info: no authorized SSH keys
<14>Nov 23 10:00:00 cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----
<14>Nov 23 10:00:00 cloud-init: 256 {ONE} root@ip-10-0-0-1 (ECDSA)
<14>Nov 23 10:00:00 cloud-init: 256 {TWO} root@ip-10-0-0-1 (ED25519)
<14>Nov 23 10:00:00 cloud-init: -----END SSH HOST KEY FINGERPRINTS-----
login:
"""


def test_the_fingerprints_of_the_block_are_found():
    assert printed(BOOT) == [ONE, TWO]


def test_the_output_may_be_encoded():
    assert printed(base64.b64encode(BOOT.encode()).decode()) == [ONE, TWO]


@pytest.mark.parametrize(
    "output",
    ["", "login:", f"256 {ONE} outside of the block", BOOT.partition("-----END")[0], "\x00\xff"],
)
def test_nothing_is_found_outside_of_a_whole_block(output):
    assert printed(output) == []


def test_a_block_that_was_begun_anew_counts_from_there():
    begin = "-----BEGIN SSH HOST KEY FINGERPRINTS-----"
    assert printed(BOOT.replace(f"256 {ONE}", f"256 {ONE}\n{begin}")) == [TWO]
    assert printed(BOOT.partition("-----END")[0] + BOOT) == [ONE, TWO]


def test_beginnings_without_an_end_take_no_time():
    begun = time.thread_time()
    assert printed("-----BEGIN SSH HOST KEY FINGERPRINTS-----" * 20_000) == []
    assert time.thread_time() - begun < 20  # a search from each would take a minute


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


def output(text):
    encoded = base64.b64encode(text.encode()).decode()
    return f"<GetConsoleOutputResponse><instanceId>i-1</instanceId><output>{encoded}</output></GetConsoleOutputResponse>"


async def test_the_console_is_read_over_the_api_and_an_old_instance_type_is_asked_again():
    def answer(fields):
        if "Latest" in fields:
            return cloud.ec2_error("UnsupportedOperation", "This instance type does not support it")
        return output(BOOT)

    with Recorded(GetConsoleOutput=answer) as api:
        aws = Aws(region=REGION, endpoint_url=api.url)
        assert await Ec2Console(aws).fingerprints("i-1") == [ONE, TWO]
        api.answers["GetConsoleOutput"] = output("booting")
        assert await Ec2Console(aws).fingerprints("i-1") == []
        api.answers["GetConsoleOutput"] = cloud.ec2_error("UnauthorizedOperation", "no", 403)
        with pytest.raises(DiscoveryError, match="ec2:GetConsoleOutput is missing"):
            await Ec2Console(aws).fingerprints("i-1")
        aws.close()
