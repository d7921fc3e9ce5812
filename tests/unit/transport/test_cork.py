"""The cork: the same packets in the same order, in fewer system calls, without the ignorable ones."""

import asyncio

import asyncssh
import pytest

from replicator.transport.cork import HIGH, MSG_IGNORE, Cork
from tests.support.waiting import turns


class Transport:
    def __init__(self):
        self.calls = []
        self.closing = False

    def is_closing(self):
        return self.closing

    def get_extra_info(self, name, default=None):
        return default

    def writelines(self, packets):
        self.calls.append(list(packets))


class Connection:
    """The side of an asyncssh connection that the cork takes."""

    def __init__(self):
        self.transport = self._transport = Transport()
        self.sent = []
        self.cipher = "aes256-ctr"

    def get_extra_info(self, name):
        return {"send_cipher": self.cipher}[name]

    def send_packet(self, kind, *args, handler=None):
        if kind > 30:
            self.send_packet(MSG_IGNORE, b"")
        self._send(b"%d:" % kind + b"".join(args))

    def _send(self, data):
        pytest.fail("not corked")


@pytest.fixture
def connection():
    return Connection()


async def test_packets_go_out_together_at_the_next_turn_of_the_loop(connection):
    Cork(connection)
    for payload in (b"a", b"b", b"c"):
        connection.send_packet(94, payload)
    assert connection.transport.calls == []
    await turns()
    assert connection.transport.calls == [[b"94:a", b"94:b", b"94:c"]]


async def test_what_may_be_ignored_is_not_sent(connection):
    cork = Cork(connection)
    connection.send_packet(MSG_IGNORE, b"")
    cork.flush()
    assert connection.transport.calls == []


async def test_with_a_cbc_cipher_the_ignorable_ones_are_sent(connection):
    connection.cipher = "aes256-cbc"
    cork = Cork(connection)
    connection.send_packet(94, b"a")
    cork.flush()
    assert connection.transport.calls == [[b"2:", b"94:a"]]


async def test_a_flush_writes_at_once_and_nothing_twice(connection):
    cork = Cork(connection)
    connection.send_packet(94, b"a", handler=None)
    cork.flush()
    await turns(2)
    assert connection.transport.calls == [[b"94:a"]]


async def test_much_is_written_without_waiting(connection):
    Cork(connection)
    for _ in range(3):
        connection.send_packet(94, bytes(HIGH // 2))
    assert len(connection.transport.calls) == 1
    await turns()
    assert [len(call) for call in connection.transport.calls] == [2, 1]


@pytest.mark.parametrize("gone", ["closing", "lost"])
async def test_nothing_is_written_to_a_connection_that_is_gone(connection, gone):
    cork = Cork(connection)
    connection.send_packet(94, b"a")
    transport = connection.transport
    if gone == "closing":
        transport.closing = True
    else:
        connection._transport = None
    cork.flush()
    assert transport.calls == []


@pytest.mark.parametrize(
    "lacks", ["send_packet", "_send", "_transport", "writelines", "is_closing"]
)
async def test_where_asyncssh_lacks_anything_that_is_needed_packets_go_out_as_they_are(lacks):
    wire = []

    class Socket:
        pass

    class Other:
        pass

    for name in {"writelines", "is_closing"} - {lacks}:
        setattr(Socket, name, lambda *_: False)
    for name in {"send_packet", "_send"} - {lacks}:
        setattr(Other, name, lambda _, packet: wire.append(packet))
    connection = Other()
    if lacks != "_transport":
        connection._transport = Socket()
    cork = Cork(connection)
    for name in {"send_packet", "_send"} - {lacks}:
        getattr(connection, name)(name)
    cork.flush()
    await turns()
    assert set(wire) == {"send_packet", "_send"} - {lacks}
    assert not cork.works


def test_a_connection_without_these_attributes_is_left_alone():
    Cork(object()).flush()


async def test_the_asyncssh_that_is_installed_has_all_that_is_needed():
    options = await asyncssh.SSHClientConnectionOptions.construct(config=None)
    connection = asyncssh.SSHClientConnection(asyncio.get_running_loop(), options)
    connection._cancel_login_timer()
    assert {"_transport", "_recv_pkthdr", "log_received_packet"} <= set(dir(connection))
    connection._transport = Transport()
    assert Cork(connection).works
