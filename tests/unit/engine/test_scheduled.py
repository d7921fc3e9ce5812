"""Verification on a schedule: at its times, one frontend after the other, and again after the settings have changed."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from replicator.config import VerifySettings
from replicator.engine.control.scheduled import LATE, LOOK, ScheduledVerification
from replicator.engine.frontend.verify import Report
from replicator.ports import Address

HOUR = 3600.0


class Fleet:
    """Frontends by host, all live."""

    def __init__(self, *hosts):
        self.replicas = [
            SimpleNamespace(
                machine=host,
                address=Address(host),
                is_bootstrapped=True,
                is_paused=False,
                state=SimpleNamespace(value="retrying"),
            )
            for host in hosts
        ]

    def __iter__(self):
        return iter(self.replicas)

    def find(self, address):
        return next((one for one in self.replicas if one.address == address), None)


class Recorder:
    """A verifier that records its calls; each takes `seconds`."""

    def __init__(self):
        self.calls, self.skipped, self.seconds, self.inside = [], [], 1.0, 0
        self.scans_before = []

    async def rescan(self):
        self.scans_before.append(len(self.calls))

    async def verify(self, replica, *, repair, rate):
        self.inside += 1
        assert self.inside == 1, "one frontend at a time"
        self.calls.append((replica.address.host, repair, rate))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.inside -= 1
        return Report(replica.address.host)

    async def skip(self, replica, reason):
        self.skipped.append(reason)
        return Report(replica.address.host, error=reason)


class Scene:
    """A scheduled verification in virtual time. Its clock is 10:00 UTC at the start, and goes with the loop's."""

    def __init__(self, *hosts):
        self.loop = asyncio.get_running_loop()
        self.fleet, self.verifier = Fleet(*hosts), Recorder()
        self.ahead = 10 * HOUR - self.loop.time()
        self.verification = ScheduledVerification(
            SimpleNamespace(fleet=self.fleet), self.verifier, self.now
        )
        self.task = self.loop.create_task(self.verification.run())

    def now(self):
        return self.loop.time() + self.ahead

    def use(self, schedule, **more):
        self.verification.use(VerifySettings(schedule=schedule, **more))

    @property
    def hosts(self):
        return [host for host, _, _ in self.verifier.calls]


@pytest.fixture
async def scene(clock, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    made = Scene("a", "b")
    await asyncio.sleep(0)
    yield made
    made.task.cancel()
    await asyncio.wait([made.task])
    monkeypatch.undo()
    time.tzset()


async def test_all_frontends_are_verified_one_after_the_other_at_each_time(scene):
    scene.use("hourly", repair=True, rate="1MiB/s")
    await asyncio.sleep(HOUR - 1)
    assert scene.hosts == []
    assert scene.verification.describe() == {
        "schedule": "hourly",
        "interval_seconds": 3600,
        "next": 11 * HOUR,
        "running": "",
        "error": "",
    }
    await asyncio.sleep(1.5)
    assert scene.verification.describe()["running"] == "a"
    await asyncio.sleep(5)
    assert scene.verifier.calls == [("a", True, 1 << 20), ("b", True, 1 << 20)]
    assert scene.verifier.scans_before == [0]
    assert scene.verification.describe()["running"] == ""
    await asyncio.sleep(HOUR)
    assert scene.hosts == ["a", "b", "a", "b"]


async def test_a_failure_is_shown_until_a_run_has_ended(scene):
    scene.use("hourly")
    scene.verification.failed("internal error: KeyError('a')")
    assert scene.verification.describe()["error"] == "internal error: KeyError('a')"
    await asyncio.sleep(HOUR + 10)
    assert scene.hosts == ["a", "b"]
    assert scene.verification.describe()["error"] == ""


async def test_a_failure_is_forgotten_with_the_schedule_that_it_belongs_to(scene):
    scene.use("hourly")
    scene.verification.failed("internal error: KeyError('a')")
    scene.use("")
    assert scene.verification.describe()["error"] == ""


async def test_without_a_schedule_nothing_is_verified(scene):
    await asyncio.sleep(100 * HOUR)
    assert scene.hosts == []


async def test_other_settings_end_a_run_and_the_same_ones_do_not(scene):
    scene.verifier.seconds = 600.0
    scene.use("hourly")
    await asyncio.sleep(HOUR + 10)
    scene.use("hourly")
    await asyncio.sleep(1)
    assert scene.verification.describe()["running"] == "a"
    scene.use("daily 12:00")
    await asyncio.sleep(1)
    assert (scene.verifier.inside, scene.verification.describe()["running"]) == (0, "")
    await asyncio.sleep(HOUR)
    assert scene.hosts == ["a", "a"]
    scene.use("")
    await asyncio.sleep(48 * HOUR)
    assert scene.hosts == ["a", "a"]
    assert scene.verification.describe()["next"] is None


async def test_a_frontend_that_left_is_left_out_and_one_that_is_not_live_is_reported(scene):
    scene.fleet.replicas[1].is_bootstrapped = False
    scene.use("hourly")
    await asyncio.sleep(HOUR + 0.5)
    scene.fleet.replicas.append(Fleet("joined").replicas[0])  # compared when it joined
    await asyncio.sleep(5)
    assert scene.hosts == ["a"]
    assert scene.verifier.skipped == ["b: it is retrying"]
    scene.fleet.replicas[1].is_bootstrapped = True
    await asyncio.sleep(HOUR - 5.5 + 0.5)
    del scene.fleet.replicas[1]
    await asyncio.sleep(5)
    assert scene.hosts == ["a", "a", "joined"]


async def test_a_paused_frontend_is_left_in_peace_and_reported(scene):
    scene.fleet.replicas[0].is_paused = True
    scene.use("hourly")
    await asyncio.sleep(HOUR + 5)
    assert (scene.hosts, scene.verifier.skipped) == (["b"], ["a: it is paused"])


async def test_a_run_that_takes_longer_than_the_interval_is_not_doubled(scene):
    scene.verifier.seconds = 0.75 * HOUR
    scene.use("hourly")
    with capture_logs() as logs:
        await asyncio.sleep(4 * HOUR - 1)
    assert scene.hosts == ["a", "b", "a", "b"]
    reasons = [line["reason"] for line in logs if line["event"] == "verification skipped"]
    assert reasons == [
        "the former one was still running: choose a longer interval, or a higher verify.rate"
    ]


@pytest.mark.parametrize(("slept", "runs"), [(LATE - 120, True), (LATE + 120, False)])
async def test_after_a_sleep_of_the_machine_a_time_counts_for_an_hour(scene, slept, runs):
    scene.use("daily 11:00")
    await asyncio.sleep(HOUR - 10)
    scene.ahead += slept  # the loop's clock stands still meanwhile
    with capture_logs() as logs:
        await asyncio.sleep(LOOK + 5)
    assert bool(scene.hosts) is runs
    assert ("verification skipped" in [line["event"] for line in logs]) is not runs
    await asyncio.sleep(24 * HOUR)
    assert len(scene.hosts) == (4 if runs else 2)


async def test_a_clock_that_is_set_back_brings_the_next_time_nearer(scene):
    scene.ahead += 1000 * 24 * HOUR
    scene.use("daily 11:00")
    await asyncio.sleep(LOOK)
    scene.ahead -= 1000 * 24 * HOUR
    await asyncio.sleep(HOUR)
    assert scene.hosts == ["a", "b"]
