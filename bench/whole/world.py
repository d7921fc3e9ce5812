"""What every end-to-end case has: frontends, eyewitnesses on them, a contestant and a meter."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.case import Act, Case, Measured, Params
from bench.stage import Host, Stage
from bench.whole import eyewitness
from bench.whole.meter import Meter, adopt_orphans, end_orphans
from bench.whole.systems import SYSTEMS
from bench.whole.systems.job import Job, System
from bench.whole.witnesses import PATIENCE, Witnesses


class World:
    """A contestant at work, and what is needed to watch it.

    Attributes:
        system: the contestant.
        source: the directory on this machine that it carries.
        target: the directory on each frontend.
        hosts: the frontends, as the contestant reaches them.
        witnesses: on all of them.
    """

    def __init__(
        self, system: System, hosts: tuple[Host, ...], witnesses: Witnesses, between: set[int]
    ) -> None:
        self.system = system
        self.source = system.job.source
        self.target = system.job.target
        self.hosts = hosts
        self.witnesses = witnesses
        self._bystanders = between | witnesses.pids

    def start(self, hosts: Sequence[Host] | None = None) -> None:
        """Let it fill frontends for the first time, and come to rest."""
        hosts = self.hosts if hosts is None else hosts
        self.system.start(hosts)
        if hosts:
            self.complete(among=len(hosts))
        self.meter().settle()

    def complete(self, among: int | None = None) -> None:
        """Wait until all files are on all frontends, or on the first few."""
        count = len(eyewitness.visible(str(self.source)))
        self.witnesses.ask("tree", self.target, count, PATIENCE, among=among)

    def meter(self) -> Meter:
        """Return a meter that begins now."""
        return Meter(self.system.job.stage.interface, self._bystanders)


Scene = Callable[[World, Params], Measured]


def play(scene: Scene, name: str, place: Path, params: Params) -> Measured:
    """Set the scene with a contestant, play it, and take everything down."""
    adopt_orphans()
    stage, hosts = _cast(params)
    target = f"{stage.target}/{place.name}"
    delay = params.get("delay_ms", 0)
    with _reached(stage, hosts, place, delay) as (seen, there, between):
        system = SYSTEMS[name](Job(place, place / "source", target, seen))
        with Witnesses(stage, hosts) as witnesses:
            witnesses.ask("make", target)
            world = World(system, there, witnesses, between)
            try:
                measured = scene(world, params)
            finally:
                system.stop()
                end_orphans(between | witnesses.pids)
    if delay:  # a proxy has every byte pass the interface twice
        measured.wire_bytes = None
    return measured


def check_equal(_: str, place: Path, params: Params) -> None:
    """All frontends hold what the source holds, by content; then their copies may go."""
    stage, hosts = _cast(params)
    wanted = eyewitness.digest(str(place / "source"))
    target = f"{stage.target}/{place.name}"
    with Witnesses(stage, hosts) as witnesses:
        found = witnesses.ask("digest", target)
        different = [str(host) for host, one in zip(hosts, found, strict=True) if one != wanted]
        assert not different, f"another content on {', '.join(different)}"
        if params.get("bulky"):  # few files, which would fill the disk
            witnesses.ask("remove", target)


def case(  # what a case is
    name: str,
    about: str,
    scene: Scene,
    contestants: Sequence[str],
    prepare: Callable[[Path, Params], None],
    variants: Sequence[Params],
    tiny: Params,
) -> Case:
    """Return an end-to-end case; its parameters name the number of `frontends`."""
    acts: dict[str, Act] = {who: partial(play, scene, who) for who in contestants}
    return Case(name, about, acts, prepare, check_equal, tuple(variants), tiny)


def _cast(params: Params) -> tuple[Stage, tuple[Host, ...]]:
    stage = Stage.load(params["stage"])
    hosts = stage.hosts[: params["frontends"]]
    assert len(hosts) == params["frontends"], f"{params['frontends']} frontends are needed, and {len(hosts)} are here"  # fmt: skip
    return stage, hosts


@contextlib.contextmanager
def _reached(
    stage: Stage, hosts: tuple[Host, ...], place: Path, delay_ms: float
) -> Iterator[tuple[Stage, tuple[Host, ...], set[int]]]:
    """Yield stage and hosts as the contestant sees them, and the processes that stand between: none, or a proxy that delays."""
    if not delay_ms:
        yield stage, hosts, set()
        return
    where = [f"{host.address}:{host.port}" for host in hosts]
    command = [sys.executable, "-m", "bench.stage.distance", str(delay_ms), *where]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as proxy:
        assert proxy.stdout
        ports = map(int, proxy.stdout.readline().split())
        seen = tuple(replace(host, port=port) for host, port in zip(hosts, ports, strict=True))
        known = Path(stage.known_hosts).read_text()
        for old, new in zip(hosts, seen, strict=True):
            known = known.replace(f"[{old.address}]:{old.port} ", f"[{new.address}]:{new.port} ")
        (place / "known_hosts").write_text(known)
        yield replace(stage, known_hosts=str(place / "known_hosts")), seen, {proxy.pid}
        proxy.terminate()
