"""Contract of ports.Connector, and of the channels that it opens, for the fakes of both; SSH is in test_channel."""

import asyncio
import os
import signal

import pytest

from replicator.errors import ChannelLost, TransportError
from replicator.ports import Address
from replicator.wire import frames, messages
from tests.support.child_agent import LocalConnector
from tests.support.fakes.agent import FakeAgent
from tests.support.fakes.agent_channel import AgentChannel
from tests.support.fakes.channel import FakeChannel
from tests.support.fakes.connector import FakeConnector
from tests.support.waiting import FOREVER, turns

HELLO = frames.encode(messages.Hello(messages.VERSION, messages.FEATURES, "a test").header())
ENOUGH = FOREVER
"""Seconds until a missing answer is an error."""


def processes(directory):
    """Agents in child processes, and a connector that fails."""
    failing = LocalConnector(python="/bin/false")
    return LocalConnector(pin_root=str(directory)), failing


def threads(directory):
    """Agents in threads."""
    connector = FakeConnector(directory)
    connector.refused.add("refused")
    return connector, connector


def in_memory(_directory):
    """Simulated agents."""
    connector = FakeConnector(None)
    connector.refused.add("refused")
    connector.make = lambda _host: FakeAgent({})
    return connector, connector


@pytest.fixture(params=[processes, threads, in_memory], ids=lambda make: make.__name__)
def connectors(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def connector(connectors):
    return connectors[0]


def end(channel):
    """End the agent, as if it was killed."""
    if isinstance(channel, FakeChannel):
        channel.hang_up()
    elif isinstance(channel, AgentChannel):
        channel.kill()
    else:
        os.kill(channel.pid, signal.SIGKILL)


async def read_message(channel):
    decoder = frames.Decoder()
    async with asyncio.timeout(ENOUGH):
        while True:
            data = await channel.read()
            assert data, channel.diagnosis()
            decoder.receive(data)
            for frame in decoder.frames():
                return messages.decode(frame.header)


async def read_to_the_end(channel):
    async with asyncio.timeout(ENOUGH):
        while await channel.read():
            pass


async def write_on(channel):
    for _ in range(100):
        await channel.write(HELLO)


async def test_a_channel_begins_with_the_agents_first_message(connector):
    channel = await connector.connect(Address("a"), "i-1")
    await channel.write(HELLO)
    assert isinstance(await read_message(channel), messages.Hello)
    await channel.close()


async def test_a_failure_to_connect_is_a_transport_error_with_a_reason(connectors):
    with pytest.raises(TransportError) as caught:
        await connectors[1].connect(Address("refused"))
    assert str(caught.value)


async def test_channels_to_one_host_are_independent(connector):
    first = await connector.connect(Address("a"))
    second = await connector.connect(Address("a"))
    await first.close()
    await second.write(HELLO)
    assert isinstance(await read_message(second), messages.Hello)
    await second.close()


async def test_the_end_of_the_agent_is_the_end_of_the_stream_for_ever(connector):
    channel = await connector.connect(Address("a"))
    end(channel)
    await read_to_the_end(channel)
    assert await channel.read() == b""
    assert isinstance(channel.diagnosis(), str)
    await channel.close()


async def test_a_closed_channel_takes_nothing_and_ends_a_waiting_reader(connector):
    channel = await connector.connect(Address("a"))
    reader = asyncio.get_running_loop().create_task(read_to_the_end(channel))
    await turns()
    await channel.close()
    await reader
    await channel.close()
    with pytest.raises(ChannelLost):
        await write_on(channel)
