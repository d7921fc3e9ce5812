"""What a service manager hears, over real datagram sockets."""

import asyncio
import os
import socket
import time

import pytest

from replicator.telemetry.systemd import Notifier
from tests.support.waiting import FOREVER, eventually


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """Yield a socket as a service manager has it, and the value of NOTIFY_SOCKET."""
    place = str(tmp_path / "n") if request.param == "path" else f"@replicator-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind("\0" + place[1:] if place[0] == "@" else place)
        yield listener, place


def heard(listener):
    """Return all datagrams that have come, each as its lines."""
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return found


def test_each_state_is_sent_with_its_fields(manager):
    listener, place = manager
    notifier = Notifier({"NOTIFY_SOCKET": place})
    notifier.ready("3 live")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    notifier.stopping()
    ready, reloading, stopping = heard(listener)
    assert ready == ["READY=1", "STATUS=3 live"]
    assert reloading[0] == "RELOADING=1"
    moment = int(reloading[1].removeprefix("MONOTONIC_USEC="))
    assert before <= moment <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert stopping[0] == "STOPPING=1"


def test_what_is_for_us_is_kept_from_our_children():
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "A": "b"}
    Notifier(environment)
    assert environment == {"A": "b"}


async def test_heartbeats_come_at_half_of_the_period_and_the_status_when_it_changes(manager):
    listener, place = manager
    mine = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier({"NOTIFY_SOCKET": place, **mine})
    texts = ["1 connecting", "1 live"]
    begun = time.monotonic()
    task = asyncio.create_task(notifier.keep(lambda: texts[0] if len(texts) == 1 else texts.pop(0)))
    found = []

    def five():
        found.extend(heard(listener))
        return len(found) >= 5

    await eventually(five, "five heartbeats")
    elapsed = time.monotonic() - begun
    task.cancel()
    assert elapsed >= 0.35, "more often than twice in a period"
    assert all(lines[0] == "WATCHDOG=1" for lines in found)
    assert [lines[1:] for lines in found[:3]] == [["STATUS=1 connecting"], ["STATUS=1 live"], []]


async def test_a_blocked_loop_sends_no_heartbeat(manager):
    listener, place = manager
    notifier = Notifier({"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "20000"})
    task = asyncio.create_task(notifier.keep(lambda: ""))
    await eventually(lambda: heard(listener), "the first heartbeat")
    time.sleep(0.1)  # this is the blocked loop
    assert heard(listener) == []
    await eventually(lambda: heard(listener), "another one, when the loop goes on")
    task.cancel()


@pytest.mark.parametrize(
    "setting", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}, {}]
)
async def test_without_a_valid_watchdog_setting_no_heartbeats_are_sent(manager, setting):
    listener, place = manager
    period = {} if setting == {} else {"WATCHDOG_USEC": "20000"}
    notifier = Notifier({"NOTIFY_SOCKET": place, **period, **setting})
    assert notifier.watchdog == 0
    task = asyncio.create_task(notifier.keep(lambda: "fine"))
    await eventually(lambda: heard(listener) == [["STATUS=fine"]], "the status without a heartbeat")
    task.cancel()


@pytest.mark.parametrize("place", ["", "/nowhere/at/all", "vsock:2:1234", "@nobody-listens-here"])
async def test_without_a_service_manager_nothing_happens(place):
    notifier = Notifier({"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "1000"})
    notifier.ready("")
    notifier.reloading()
    notifier.stopping()
    statuses = []
    assert notifier.has_manager == place.startswith(("/", "@"))
    task = asyncio.create_task(notifier.keep(lambda: statuses.append("x") or "x"))
    if place.startswith(("/", "@")):
        await eventually(lambda: len(statuses) > 3, "it to go on though nobody listens")
        task.cancel()
    else:
        await asyncio.wait_for(task, FOREVER)
        assert not statuses


def test_a_service_manager_that_reads_nothing_is_not_waited_for(manager):
    _, place = manager
    notifier = Notifier({"NOTIFY_SOCKET": place})
    for _ in range(2000):  # far more than its socket holds: waiting would be for ever
        notifier.ready("x" * 100)
