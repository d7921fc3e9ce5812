"""Networks and hosts that fail silently: reachable frontends are always up to date, the others after they are reachable again."""

import json
import os
import re
import sys
import time
from collections import defaultdict
from itertools import pairwise

import pytest

from replicator.core.dirty import LIMIT
from replicator.core.pending import Key
from replicator.demo.trees import difference
from replicator.engine.changes.encode import ChangeRef, EncodedChanges
from tests.support import PROJECT
from tests.support.backend import Backend, LocalFleet
from tests.support.child_agent import LocalConnector
from tests.support.faults import Cable, Line, RemoteSshd
from tests.support.reader import publish
from tests.support.waiting import FOREVER, turns, wait_for

ADDRESSES = ("127.0.3.2", "127.0.3.3")
MISSED = int(os.environ.get("REPLICATOR_MISSED", "500000"))
RECEIVERS = int(os.environ.get("REPLICATOR_RECEIVERS", "12"))


@pytest.fixture(scope="module")
def two(fleet):
    return [fleet.add(f"well-{i}", address) for i, address in enumerate(ADDRESSES)]


@pytest.fixture
def cable():
    made = Cable()
    yield made
    made.remove()


@pytest.fixture
def remote(fleet, cable, tmp_path):
    server = RemoteSshd(
        tmp_path / "remote", cable, keys=fleet.keys, binds={fleet.root: tmp_path / "world"}
    )
    with server:
        yield server


def events(backend, host):
    """Return what the daemon has logged about a host."""
    lines = [json.loads(line) for line in backend.log.read_text().splitlines()]
    return [line for line in lines if line.get("host") == host]


def equal(backend, servers):
    """Wait until these frontends hold what the source holds, whatever the state of the others."""
    wait_for(lambda: not backend.differences(servers), "the others to be in sync")


def test_a_host_that_falls_silent_delays_no_other_and_catches_up(make, two, remote, cable):
    backend = make([*two, remote])
    backend.tables["retry"] = {"first": 0.2, "cap": 0.8}
    backend.configure(op_timeout=8.0, connect_timeout=4.0, keepalive=3.0)
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()

    cable.pull()
    (backend.source / "first").write_bytes(os.urandom(50_000))
    equal(backend, two)
    # Before the loss is noticed: nobody waited for that.
    assert backend.row(remote)["state"] == "live"
    wait_for(lambda: backend.row(remote)["state"] != "live", "the loss to be noticed", FOREVER)
    for number in range(5):
        (backend.source / f"more-{number}").write_bytes(os.urandom(50_000))
        equal(backend, two)
    since = backend.row(remote)["lag_seconds"]
    wait_for(lambda: backend.row(remote)["lag_seconds"] > since + 10, "a few attempts", pause=0.1)
    row = backend.row(remote)
    logged = [
        event for event in events(backend, remote.address) if event["event"] == "frontend failed"
    ]
    assert row["last_error"]
    assert row["dirty"] >= 6
    reasons = [event["reason"] for event in logged]
    assert len(reasons) <= 3, f"the same reason is logged once: {reasons}"
    assert all(backend.row(server)["logins"] == 1 for server in two)

    cable.plug()
    backend.wait_until_equal()
    assert backend.row(remote)["logins"] == 2


def test_a_session_that_is_stopped_delays_no_other_and_catches_up(make, fleet, two):
    third = fleet.add("stopped", "127.0.3.4")
    backend = make([*two, third])
    backend.configure(op_timeout=1.5, keepalive=0.5, connect_timeout=5.0)
    backend.fill(10)
    backend.start()
    backend.wait_until_equal()
    with third.frozen():
        (backend.source / "while it is stopped").write_bytes(os.urandom(2 << 20))
        equal(backend, two)
        wait_for(lambda: backend.row(third)["last_error"], "it to be missed", FOREVER)
        (backend.source / "d1").rename(backend.source / "renamed")
        equal(backend, two)
    backend.wait_until_equal()
    wait_for(lambda: len(third.sessions()) <= 2, lambda: f"orphans: {third.sessions()}", FOREVER)


def test_a_line_that_stalls_is_left_and_taken_again(make, two):
    with Line(two[1]) as line:
        backend = make([two[0]])
        # A login over the proxy takes 0.5 s, and several times as long on a busy machine.
        backend.configure(line.frontend, op_timeout=1.5, keepalive=0.5, connect_timeout=5.0)
        backend.known_hosts([two[0]])
        with (backend.directory / "known_hosts").open("a") as file:
            file.write(line.known_hosts_line(two[1]))
        backend.fill(10)
        backend.start()
        far = backend.copy(two[1])

        def both():
            return not backend.differences([two[0]]) and not difference(backend.source, far)

        wait_for(both, lambda: json.dumps(backend.status()), FOREVER)
        line.stall()
        (backend.source / "missed").write_bytes(os.urandom(100_000))
        equal(backend, two[:1])

        def row():
            return next(r for r in backend.status()["frontends"] if r["port"] == line.port)

        wait_for(lambda: "in time" in row()["last_error"], row, FOREVER)
        (backend.source / "missed too").write_bytes(b"x")
        equal(backend, two[:1])
        line.go_on()
        wait_for(both, lambda: json.dumps(backend.status()), FOREVER)


def test_a_slow_line_is_not_cut_and_small_files_overtake_a_large_one(make, two):
    with Line(two[1], rate=1 << 20) as line:
        backend = make([])
        backend.configure(line.frontend, op_timeout=4.0, keepalive=2.0)
        (backend.directory / "known_hosts").write_text(line.known_hosts_line(two[1]))
        backend.start()
        wait_for(lambda: backend.status()["frontends"][0]["state"] == "live", "it", FOREVER)
        far = backend.copy(two[1])
        begun = time.monotonic()
        (backend.source / "large").write_bytes(os.urandom(10 << 20))
        wait_for(lambda: list(far.glob(".replicator-*")), "the large file to be under way", FOREVER)
        for number in range(3):
            publish(backend.source / "watched" / f"small-{number}", 1, 2000)
            wait_for((far / "watched" / f"small-{number}").exists, "a small file", FOREVER)
            assert not (far / "large").exists(), "it must overtake"
        wait_for(lambda: not difference(backend.source, far), "all of it", FOREVER)
        assert time.monotonic() - begun > 8, "the line was not slow"
        assert backend.status()["frontends"][0]["logins"] == 1


# --- clocks ---


WALL_CLOCKS = re.compile(
    r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\(|\btime\.localtime\("
)
ALLOWED = {
    "replicator/source/snapshot.py": 1,  # compared with times that the kernel gave to files: see below
    "replicator/engine/frontend/readiness.py": 3,  # the times of the ready files
    "replicator/doctor/frontends.py": 1,  # the time of the file that `check` writes
    "replicator/transport/changing.py": 1,  # compared with times that the kernel gave to files
    "replicator/agent/boot.py": 1,  # when this boot began, compared with the time of a ready file
    "replicator/app/about.py": 3,  # shown: when the configuration was read
    "replicator/agent/stamp.py": 2,  # the time of the stamp file
    "replicator/telemetry/recent.py": 1,  # shown: when an event was
    "replicator/engine/control/delivery_times.py": 1,  # shown: the last ten minutes
    "replicator/engine/control/verifier.py": 1,  # shown: when a frontend was verified
    "replicator/engine/fleet/fleet.py": 1,  # the end of a pause, which lasts over restarts
    "replicator/engine/paused.py": 1,  # the same
    "replicator/hooks/runner.py": 1,  # shown: when a hook ran last
    "replicator/engine/control/history.py": 2,  # shown: since when a state lasts
    "replicator/engine/control/requests.py": 1,  # shown: when the status was made
    "replicator/base/publisher.py": 3,  # shown: the time of the answer, when a base was up to date, when the store was pruned
    "replicator/base/schedule.py": 1,  # shown: the age of a base
    "replicator/engine/fleet/membership.py": 1,  # shown: when discovery last succeeded
}


def test_no_deadline_hangs_on_the_wall_clock():
    found = {
        str(path.relative_to(PROJECT)): len(WALL_CLOCKS.findall(path.read_text()))
        for path in (PROJECT / "replicator").rglob("*.py")
    }
    assert {path: times for path, times in found.items() if times} == ALLOWED


def test_a_clock_that_jumps_changes_nothing_but_what_is_hashed_again(tmp_path, monkeypatch):
    now, step = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: now() + step[0])
    hour, years = 3600 * 10**9, 10 * 365 * 86400 * 10**9
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        for number, step[0] in enumerate([hour, -hour, years, -years, 0]):
            path = backend.source / f"file-{number % 2}"
            path.write_bytes(os.urandom(5000))
            backend.wait_until_equal()
            path.write_bytes(os.urandom(5000))  # of the same size, a moment later
            backend.wait_until_equal()
        assert all(backend.row(host)["logins"] == 1 for host in backend.hosts)


TIMES = {
    "1970": 0, "before 1970": -86_400 * 10**9 - 1, "one nanosecond before": -1, "2400": 13_569_465_600 * 10**9 + 7,
    "after 2038": (1 << 31) * 10**9 + 999_999_999, "tomorrow": int((time.time() + 86_400) * 10**9),
}  # fmt: skip


def test_times_of_all_ages_arrive_exactly(tmp_path):
    with Backend(tmp_path) as backend:
        for name, when in TIMES.items():
            path = backend.source / name
            path.write_text(name)
            os.utime(path, ns=(when, when))
            kept = path.stat().st_mtime_ns  # what this file system makes of it
            (backend.source / f"d {name}").mkdir()
            os.utime(backend.source / f"d {name}", ns=(kept, kept))
            (backend.source / f"l {name}").symlink_to(name)
            os.utime(backend.source / f"l {name}", ns=(kept, kept), follow_symlinks=False)
        backend.wait_until_equal()
        assert (backend.site("one") / "1970").stat().st_mtime_ns == 0
        for name in TIMES:
            (backend.source / name).write_text("another")
            os.utime(backend.source / name, ns=(TIMES["1970"], TIMES["1970"]))
        backend.wait_until_equal()


# --- many ---


def test_attempts_at_a_dead_host_are_bounded_and_spread(tmp_path):
    fleet = CountingFleet(tmp_path)
    fleet.refused.add("two")
    with Backend(tmp_path, connector=fleet, retry={"first": 0.01, "cap": 0.2}) as backend:
        wait_for(lambda: len(fleet.attempts["two"]) > 30, "thirty attempts", FOREVER)
        backend.hosts = ["one"]
        (backend.source / "flows").write_text("x")
        wait_for((backend.site("one") / "flows").exists, "the other to be in sync")
        assert len(fleet.attempts["one"]) == 1
    made = fleet.attempts["two"]
    pauses = [later - earlier for earlier, later in pairwise(made)][6:]
    # Uniform between a tenth of the cap and the cap: never the same for two. A busy machine adds to each.
    assert min(pauses) >= 0.1 * 0.2
    assert sum(pauses) / len(pauses) > 0.05
    assert len({round(pause, 4) for pause in pauses}) > len(pauses) / 2


class CountingFleet(LocalFleet):
    """Records the time of each connection attempt by host."""

    def __init__(self, directory):
        super().__init__(directory)
        self.attempts = defaultdict(list)

    async def connect(self, address, identity=""):
        self.attempts[address.host].append(time.monotonic())
        return await super().connect(address, identity)


def test_half_a_million_missed_changes_are_a_comparison_and_little_memory(tmp_path):
    fleet = LocalFleet(tmp_path)
    with Backend(tmp_path, connector=fleet) as backend:
        for number in range(50):
            (backend.source / str(number)).write_text("old")
        backend.wait_until_equal()
        fleet.refused.add("two")
        fleet.kill("two")
        wait_for(lambda: backend.row("two")["state"] == "retrying", "it to be missed", FOREVER)
        replica = next(r for r in backend.app.service.fleet if r.address.host == "two")

        async def miss():
            """Add hints of unknown paths, as uploads do that are deleted at once."""
            for begin in range(0, MISSED, 500):
                keys = [Key(1, b"%d/x" % number) for number in range(begin, begin + 500)]
                replica.offer(EncodedChanges((), tuple(ChangeRef(0, key) for key in keys)))
                most.append(len(replica.dirty))
                if begin % 10_000 == 0:
                    await turns()

        most = []
        backend.call(miss(), 60)
        assert 100_000 < max(most) <= LIMIT
        for number in range(0, 50, 2):
            (backend.source / str(number)).write_text("new")
        (backend.source / "1").unlink()
        wait_for(lambda: not backend.row("one")["dirty"], "one", FOREVER)
        logins = backend.row("one")["logins"]
        fleet.refused.clear()
        backend.wait_until_equal()
        assert backend.row("one")["logins"] == logins == 1
        assert backend.row("two")["logins"] == 2


def test_a_receiver_that_missed_500_changes_is_sent_these_and_nothing_else(tmp_path):
    fleet = LocalFleet(tmp_path)
    with Backend(tmp_path, connector=fleet) as backend:
        (backend.source / "d").mkdir()
        for number in range(1000):
            (backend.source / "d" / str(number)).write_bytes(os.urandom(3000))
        backend.wait_until_equal()
        fleet.refused.add("two")
        fleet.kill("two")
        wait_for(lambda: backend.row("two")["state"] == "retrying", "it to be missed", FOREVER)
        before = {host: backend.row(host) for host in backend.hosts}
        untouched = inodes(backend.site("two"))
        for number in range(500):
            (backend.source / "d" / str(number)).write_bytes(os.urandom(3000))
        wait_for(lambda: backend.row("two")["dirty"] >= 500, "changes to be dirty", FOREVER)
        wait_for(lambda: not difference(backend.source, backend.site("one")), "one", FOREVER)
        # It is counted when it is acknowledged, a moment after it is there.
        wait_for(lambda: not backend.row("one")["dirty"], "its acknowledgements", FOREVER)
        between = backend.row("one")
        assert between["logins"] == 1
        fleet.refused.clear()
        backend.wait_until_equal()
        # Each write of a file makes a new inode: what did not change was not touched.
        assert inodes(backend.site("two")) == untouched
        sent = backend.row("two")["files_sent"] - before["two"]["files_sent"]
        size = backend.row("two")["bytes_sent"] - before["two"]["bytes_sent"]
        assert 500 <= sent <= 1010, "at most once for the debt and once for the comparison"
        assert size < 2 * 500 * 3300
        after = backend.row("one")
        assert (after["logins"], after["files_sent"]) == (1, between["files_sent"])


def inodes(site):
    return {number: (site / "d" / str(number)).stat().st_ino for number in range(500, 1000)}


def test_two_thousand_open_descriptors_are_no_obstacle(make, fleet, two, tmp_path):
    hoard = script(
        tmp_path / "hoard",
        f"#!{sys.executable}",
        "import os, resource, sys",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
        "for _ in range(2000): os.set_inheritable(os.open('/dev/null', os.O_RDONLY), True)",
        "os.execvp(sys.argv[1], sys.argv[1:])",
    )
    python = script(tmp_path / "python", "#!/bin/sh", f'exec {hoard} {sys.executable} "$@"')
    crowded = CrowdedFleet(tmp_path, str(python))
    with Backend(tmp_path, hosts=("one",), connector=crowded) as backend:
        for number in range(1200):  # more than one frame of a listing
            (backend.source / str(number)).write_text("x")
        backend.wait_until_equal()
        assert len(os.listdir(f"/proc/{crowded.channels['one'].pid}/fd")) > 2000
        backend.ask(command="verify")
        (backend.source / "big").write_bytes(os.urandom(2 << 20))
        backend.wait_until_equal()

    daemon = make(two)
    daemon.fill(20)
    daemon.start(wrapper=[str(hoard)])
    daemon.wait_until_equal()
    assert len(os.listdir(f"/proc/{daemon.daemon.pid}/fd")) > 2000
    (daemon.source / "later").write_bytes(os.urandom(2 << 20))
    daemon.wait_until_equal()
    assert daemon.stop() == 0


def script(path, *lines):
    path.write_text("\n".join([*lines, ""]))
    path.chmod(0o755)
    return path


class CrowdedFleet(LocalFleet):
    """Starts its agents with an interpreter of the test's choice."""

    def __init__(self, directory, python):
        super().__init__(directory)
        self._python = python

    async def connect(self, address, identity=""):
        self.root(address.host).mkdir(exist_ok=True)
        connector = LocalConnector(pin_root=str(self.root(address.host)), python=self._python)
        self.channels[address.host] = channel = await connector.connect(address)
        return channel


def test_many_receivers_get_each_change_which_is_read_once(tmp_path):
    hosts = [f"host-{number}" for number in range(RECEIVERS)]
    with Backend(tmp_path, hosts=hosts) as backend:
        backend.wait_until_equal(120)
        (pipeline,) = backend.app.service.pipelines.values()
        before = pipeline.tree.source.bytes_read
        content = os.urandom(100_000)
        (backend.source / "page").write_bytes(content)
        backend.wait_until_equal()
        assert pipeline.tree.source.bytes_read - before < 3 * len(content), "not once for each"
        assert all(backend.row(host)["logins"] == 1 for host in hosts)
