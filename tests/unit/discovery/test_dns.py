"""Every address of a name."""

import asyncio
import socket

import pytest

from replicator.discovery.dns import DnsProvider
from replicator.errors import DiscoveryError
from replicator.ports import Address
from tests.support.clock import virtual_time


def resolver(**names):
    """Return a resolver of these names; whatever is not among them does not exist."""

    async def resolve(host):
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in names[host]]

    return resolve


def provider(*names, **more):
    return DnsProvider([Address(name) for name in names], interval=1.0, **more)


async def test_each_address_is_a_frontend_once():
    resolve = resolver(web=["10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"])
    web = Address("web", "deploy", 2222)
    answer = await DnsProvider([web], interval=1.0, resolve=resolve).poll()
    assert {s.address for s in answer.candidates} == {
        Address(host, "deploy", 2222) for host in ("10.0.0.1", "10.0.0.2", "fd00::1")
    }
    assert {s.source for s in answer.candidates} == {"dns web"}


async def test_a_name_without_addresses_makes_the_answer_incomplete():
    answer = await provider("web", "wbe", resolve=resolver(web=["10.0.0.1"])).poll()
    assert len(answer.candidates) == 1
    assert not answer.complete
    assert "wbe has no address" in answer.notes[0]


@pytest.mark.parametrize("name", ["a..b", "x" * 64])
async def test_a_name_that_nobody_can_have_has_no_address(name):
    with pytest.raises(DiscoveryError, match="not a valid host name"):
        await provider(name).poll()


async def test_no_address_at_all_is_an_error():
    with pytest.raises(DiscoveryError, match="Name or service not known"):
        await provider("web", resolve=resolver()).poll()


async def test_a_resolver_that_hangs_is_an_error():
    async def never(_host):
        await asyncio.get_running_loop().create_future()

    virtual_time()
    with pytest.raises(DiscoveryError, match="no answer in time"):
        await provider("web", resolve=never).poll()


async def test_a_real_resolver_answers():
    answer = await provider("localhost").poll()
    assert {s.address.host for s in answer.candidates} & {"127.0.0.1", "::1"}


async def test_a_link_local_address_keeps_its_network_interface():
    loopback = socket.if_nametoindex("lo")

    async def resolve(_host):
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, loopback))]

    answer = await provider("web", "fe80::2%lo", resolve=resolve).poll()
    assert [s.address.host for s in answer.candidates] == ["fe80::1%lo", "fe80::2%lo"]
