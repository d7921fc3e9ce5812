"""Dialling: the first address that answers, whatever the others do."""

import asyncio
import contextlib
import socket

import pytest
import uvloop

from replicator.transport import dial
from tests.support.sshd import free_port
from tests.support.waiting import turns

V4, V6 = socket.AF_INET, socket.AF_INET6
LOOPS = [asyncio.run, uvloop.run]


@contextlib.contextmanager
def listening(address="127.0.0.1", backlog=1):
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen(backlog)
        yield server.getsockname()


@contextlib.contextmanager
def silent():
    """An address whose queue of connections is full: the kernel answers no connection request."""
    with listening("127.0.0.9", 0) as place, contextlib.ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(place)
        yield place


@pytest.mark.parametrize("run", LOOPS)
def test_a_silent_address_does_not_hide_the_one_that_answers(run):
    async def main():
        with silent() as nobody, listening() as somebody:
            sock = await dial.race([(V4, nobody), (V4, somebody)])
            assert sock.getpeername() == somebody
            sock.close()

    run(main())


@pytest.mark.parametrize("run", LOOPS)
def test_a_refusing_address_is_left_at_once(run, monkeypatch):
    monkeypatch.setattr(dial, "STAGGER", 3600.0)

    async def main():
        with listening() as somebody:
            sock = await dial.race([(V4, ("127.0.0.1", free_port())), (V4, somebody)])
            assert sock.getpeername() == somebody
            sock.close()

    run(main())


@pytest.mark.parametrize("run", LOOPS)
def test_if_no_address_answers_the_first_error_is_raised(run):
    async def main():
        with pytest.raises(ConnectionRefusedError):
            await dial.race([(V4, ("127.0.0.1", free_port())), (V6, ("::1", free_port()))])

    run(main())


@pytest.mark.parametrize("run", LOOPS)
def test_given_up_it_leaves_no_socket_open(run):
    async def main():
        with silent() as nobody:
            attempt = asyncio.create_task(dial.race([(V4, nobody), (V4, nobody)]))
            await turns()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt

    run(main())


def test_families_take_turns():
    six, four = [(V6, n) for n in (1, 2, 3)], [(V4, 4)]
    assert dial.alternating([*six, *four]) == [six[0], four[0], six[1], six[2]]


def test_a_zone_is_kept():
    loopback = socket.if_nametoindex("lo")

    async def main():
        return await dial.resolve("fe80::1%lo", 22)

    assert uvloop.run(main()) == [(V6, ("fe80::1", 22, 0, loopback))]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("fe80::1%nowhere0", "no network interface 'nowhere0'"),
        ("fe80::1", "needs a network interface"),
    ],
)
def test_an_unreachable_link_local_address_is_an_error(host, expected):
    with pytest.raises(OSError, match=expected):
        uvloop.run(dial.dial(host, 22))
