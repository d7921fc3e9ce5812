"""What `check` reports about one frontend."""

from types import SimpleNamespace

from replicator.doctor.frontends import examine_frontend
from replicator.ports import Address, Candidate
from tests.support.fakes.channel import FakeChannel
from tests.support.fakes.connector import FakeConnector


def agent_that_ends_at_once(_host):
    channel = FakeChannel()
    channel.hang_up()
    return channel


async def test_the_last_error_output_of_an_agent_that_ends_is_reported_without_waiting_for_an_answer():
    config = SimpleNamespace(ssh=SimpleNamespace(connect_timeout=3600.0), tree=[])
    connector = FakeConnector(None)
    connector.make = agent_that_ends_at_once
    (found,) = await examine_frontend(connector, Candidate(Address("web1")), config)
    assert (found.level, found.what) == ("fail", "the agent has ended: last words")
