"""Every address of a name."""

import asyncio
import socket

import pytest

from replicator.discovery import dns
from replicator.discovery.dns import DnsProvider
from replicator.errors import DiscoveryError
from replicator.ports import Address


@pytest.fixture
def zone(monkeypatch):
    """Names that resolve, for this test; whatever is not in it does not exist."""
    names = {}

    async def getaddrinfo(_, host, *__, **___):
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in names[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return names


async def test_each_address_is_a_frontend_once(zone):
    zone["web"] = ["10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"]
    answer = await DnsProvider([Address("web", "deploy", 2222)], interval=1.0).poll()
    assert {s.address for s in answer.candidates} == {
        Address(host, "deploy", 2222) for host in ("10.0.0.1", "10.0.0.2", "fd00::1")
    }
    assert {s.source for s in answer.candidates} == {"dns web"}


async def test_a_name_without_addresses_makes_the_answer_incomplete(zone):
    zone["web"] = ["10.0.0.1"]
    answer = await DnsProvider([Address("web"), Address("wbe")], interval=1.0).poll()
    assert len(answer.candidates) == 1
    assert not answer.complete
    assert "wbe has no address" in answer.notes[0]


@pytest.mark.parametrize("name", ["a..b", "x" * 64])
async def test_a_name_that_nobody_can_have_has_no_address(name):
    with pytest.raises(DiscoveryError, match="not a valid host name"):
        await DnsProvider([Address(name)], interval=1.0).poll()


@pytest.mark.usefixtures("zone")
async def test_no_address_at_all_is_an_error():
    with pytest.raises(DiscoveryError, match="Name or service not known"):
        await DnsProvider([Address("web")], interval=1.0).poll()


async def test_a_resolver_that_hangs_is_an_error(monkeypatch):
    async def never(*_, **__):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", never)
    monkeypatch.setattr(dns, "TIMEOUT", 0.01)
    with pytest.raises(DiscoveryError, match="no answer in time"):
        await DnsProvider([Address("web")], interval=1.0).poll()


async def test_who_is_excluded_is_left_out(zone):
    zone["web"] = ["10.0.0.1", "10.0.0.2"]
    answer = await DnsProvider([Address("web")], interval=1.0, exclude=["10.0.0.1"]).poll()
    assert [s.address.host for s in answer.candidates] == ["10.0.0.2"]


async def test_a_real_resolver_answers():
    answer = await DnsProvider([Address("localhost")], interval=1.0).poll()
    assert {s.address.host for s in answer.candidates} & {"127.0.0.1", "::1"}


async def test_a_link_local_address_keeps_its_network_interface(monkeypatch):
    loopback = socket.if_nametoindex("lo")

    async def getaddrinfo(*_, **__):
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, loopback))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    answer = await DnsProvider([Address("web"), Address("fe80::2%lo")], interval=1.0).poll()
    assert [s.address.host for s in answer.candidates] == ["fe80::1%lo", "fe80::2%lo"]
