"""Agents and daemons are killed and stopped at any moment: readers see whole versions, and all trees are equal in the end.

Each test draws its moments from a seed. More of them: REPLICATOR_AGENT_KILLS, REPLICATOR_DAEMON_KILLS.
"""

import os
import random
import re
import signal
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.backend import Backend, LocalFleet
from tests.support.reader import Reader, number_in, publish
from tests.support.waiting import FOREVER, wait_for
from tests.support.workload import WATCHED, Workload

ADDRESSES = ("127.0.2.2", "127.0.2.3")


@pytest.fixture(scope="module")
def two(fleet):
    return [fleet.add(f"killed-{i}", address) for i, address in enumerate(ADDRESSES)]


def agent_of(backend, server):
    """Return the process id of the agent that serves a frontend, or nothing while there is none."""
    row = backend.row(server)
    found = re.search(r"pid (\d+)", row["agent"] or "")
    return int(found[1]) if found and row["state"] == "live" else None


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- two agents of one tree ---


@contextmanager
def stopped(pids):
    """Processes that do nothing at all, and go on afterwards."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("with_sshd", [False, True], ids=["agent", "agent-and-sshd"])
def test_a_stopped_agent_that_is_continued_overwrites_nothing_of_its_successor(
    make, two, with_sshd
):
    server = two[0]
    backend = make([server])
    backend.configure(op_timeout=5.0)  # a busy machine must not let the successor seem stopped
    pages = [backend.source / "watched" / name for name in ("page", "other", "third")]
    sizes = dict(zip(pages, (3000, 20_000, 10), strict=True))
    for path, size in sizes.items():
        publish(path, 1, size)
    backend.start()
    backend.wait_until_equal()
    copies = [backend.copy(server) / "watched" / path.name for path in pages]

    with Reader(copies) as reader:
        old = agent_of(backend, server)
        everything = server.sessions()
        with stopped(everything if with_sshd else [old]):
            for path, size in sizes.items():
                publish(path, 2, size)
            # What the stopped one was sent is still on its way to it; another takes over.
            wait_for(lambda: agent_of(backend, server) not in (None, old), "a successor", FOREVER)
            for path, size in sizes.items():
                publish(path, 3, size)
            backend.wait_until_equal()
            reader.read_all()
            assert set(reader.seen.values()) == {3}
        wait_for(lambda: not alive(old), "the old agent to end", FOREVER)
        reader.read_all()
        publish(pages[0], 4, 3000)
        backend.wait_until_equal()
    assert reader.violations == []
    assert backend.row(server)["logins"] == 2, "the successor must not suffer"


# --- kills at any moment ---


AGENT_KILLS = int(os.environ.get("REPLICATOR_AGENT_KILLS", "25"))
DAEMON_KILLS = int(os.environ.get("REPLICATOR_DAEMON_KILLS", "6"))
BIG = 24 << 20
NO_GUARD = {
    "delete_guard": 1.0
}  # a renamed directory that a frontend missed may be most of this tree


class Havoc:
    """A mixed workload, versions that readers watch, and the moments at which something is killed.

    Args:
        source: what is changed.
        copies: the same tree on the frontends.
    """

    def __init__(self, source, copies, seed):
        self.source = source
        self.copies = copies
        self.rng = random.Random(seed)
        self.workload = Workload(source, seed)
        self.version = 0
        self.pages = [source / WATCHED / f"page-{i}" for i in range(6)]
        self.reader = Reader([copy / WATCHED / page.name for copy in copies for page in self.pages])
        (source / "tree").mkdir()
        for number in range(300):
            path = source / "tree" / str(number % 9) / str(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.rng.randbytes(2000))
        self.tree = source / "tree"
        self.publish()

    def publish(self):
        self.version += 1
        for page in self.pages:
            publish(page, self.version, self.rng.choice([0, 500, 60_000, 900_000]))

    def some_steps(self):
        for _ in range(self.rng.randint(1, 25)):
            self.workload.step()
        self.publish()

    def moment(self, kind):
        """Change something, and return at a moment at which to kill."""
        self.some_steps()
        if kind == "transfer":
            self.write_big()
            wait_for(self.in_flight, "50 MB to be in flight", FOREVER)
        elif kind == "rename":
            target = self.source / f"tree-{self.version}"
            self.tree.rename(target)
            self.tree = target
        else:
            time.sleep(self.rng.random() * 0.2)  # the moment is the point, not the wait

    def write_big(self):
        (self.source / "big").write_bytes(self.rng.randbytes(1 << 20) * (BIG >> 20))

    def in_flight(self):
        """True while some large temporary grows on a frontend. If all have arrived before one was seen, another is sent."""
        if any(size_of(path) > 1 << 20 for copy in self.copies for path in temporaries(copy)):
            return True
        written = (self.source / "big").stat()
        if all(has(copy / "big", written) for copy in self.copies):
            self.write_big()
        return False

    def check(self):
        """All that must hold in the end."""
        self.reader.stop()
        assert self.reader.violations == []
        assert self.reader.reads > 100
        assert set(self.reader.seen.values()) == {self.version}
        for copy in self.copies:
            assert not list(copy.rglob(".replicator-*")), "stale temporaries"


def temporaries(copy):
    """Return the temporaries at the top of a copy, which may not be there yet."""
    try:
        return list(copy.glob(".replicator-*.tmp"))
    except OSError:
        return []


def has(path, status):
    """Return True if a file has the size and the modification time of `status`."""
    try:
        there = path.stat()
    except OSError:
        return False
    return (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def size_of(path):
    """Return the bytes of a file; 0 if it is gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.timeout(120 + 6 * AGENT_KILLS)
def test_agents_are_killed_at_any_moment(tmp_path):
    fleet = KeepingFleet(tmp_path)
    with Backend(tmp_path, connector=fleet, tree=NO_GUARD) as backend:
        havoc = Havoc(backend.source, [backend.site(host) for host in backend.hosts], seed=7)
        with havoc.reader:
            for number in range(AGENT_KILLS):
                host = havoc.rng.choice(backend.hosts)
                kind = ("delay", "transfer", "rename", "bootstrap", "delay")[number % 5]
                if kind == "bootstrap":
                    fleet.kill_newest(host)  # the next one is met while it compares
                    fleet.wait_for_agent(host)
                havoc.moment(kind)
                fleet.wait_for_agent(host)
                fleet.kill_newest(host)
            backend.wait_until_equal()
        havoc.check()
        born = [pid for pids in fleet.pids.values() for pid in pids]
        assert len(fleet.killed) >= AGENT_KILLS
        assert sum(map(alive, born)) == len(backend.hosts), "one agent for each frontend"
    assert not any(map(alive, born))


class KeepingFleet(LocalFleet):
    """Remembers the process of every agent that there ever was."""

    def __init__(self, directory):
        super().__init__(directory)
        self.pids = defaultdict(list)
        self.killed = set()

    async def connect(self, address, identity=""):
        channel = await super().connect(address, identity)
        self.pids[address.host].append(channel.pid)
        return channel

    def wait_for_agent(self, host):
        """Wait until there is an agent that was not killed yet."""
        wait_for(lambda: self.pids[host] and self.pids[host][-1] not in self.killed, host, FOREVER)

    def kill_newest(self, host):
        self.wait_for_agent(host)
        self.killed.add(self.pids[host][-1])
        os.kill(self.pids[host][-1], signal.SIGKILL)


@pytest.mark.timeout(120 + 10 * DAEMON_KILLS)
def test_daemons_are_killed_at_any_moment(make, two):
    backend = make(two)
    backend.tree = NO_GUARD
    backend.configure()
    havoc = Havoc(backend.source, [backend.copy(server) for server in two], seed=8)
    agents = set()
    with havoc.reader:
        for number in range(DAEMON_KILLS):
            backend.start()
            kind = ("delay", "transfer", "bootstrap", "rename", "delay", "transfer")[number % 6]
            if kind != "bootstrap":
                wait_for(lambda: all(agent_of(backend, s) for s in two), "agents", FOREVER)
            havoc.moment(kind)
            agents |= {pid for server in two for pid in server.sessions()}
            backend.kill()
        backend.start()
        backend.wait_until_equal()
    havoc.check()
    current = {pid for server in two for pid in server.sessions()}
    assert len(agents) >= 2 * DAEMON_KILLS / 2
    wait_for(lambda: not any(map(alive, agents - current)), "old agents to end", FOREVER)


def test_a_daemon_that_is_killed_in_the_middle_of_a_batch_sends_the_rest_afterwards(make, two):
    backend = make(two)
    pages = [backend.source / "watched" / f"{number:03}" for number in range(100)]
    for path in pages:
        publish(path, 1, 20_000)
    backend.start()
    backend.wait_until_equal()
    copies = [backend.copy(server) / "watched" for server in two]
    with Reader([copy / path.name for copy in copies for path in pages]) as reader:

        def arrived():
            found = [number_in((copies[0] / path.name).read_bytes()) for path in pages]
            return found.count(2)

        for path in pages[:-10]:
            publish(path, 2, 20_000)
        wait_for(arrived, "the first of them", FOREVER)
        with stopped(two[0].sessions()):  # what comes now does not arrive before the kill
            for path in pages[-10:]:
                publish(path, 2, 20_000)
            backend.kill()
        assert arrived() < 100, "this must be the middle"
        backend.start()
        backend.wait_until_equal()
    assert reader.violations == []
    assert set(reader.seen.values()) == {2}
