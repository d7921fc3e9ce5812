"""What every end-to-end case has: frontends, eyewitnesses on them, a contestant and a meter."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        self.rest(among=len(hosts))

    def rest(self, among: int | None = None) -> None:
        """Wait until all files are on all frontends, or on the first few, and nobody works any more."""
        if among != 0:
            self.complete(among)
        self.meter().settle()

    def complete(self, among: int | None = None) -> int:
        """Wait until all files are on all frontends, or on the first few; return when we looked for the last time."""
        count = len(eyewitness.visible(str(self.source)))
        seen: list[int] = self.witnesses.ask("tree", self.target, count, PATIENCE, among=among)
        return max(seen)

    def meter(self) -> Meter:
        """Return a meter that begins now."""
        spared = self._bystanders | self.system.bystanders
        return Meter(self.system.job.stage.interface, spared)


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


def clear(name: str, params: Params) -> None:
    """Remove all copies that a case has made."""
    stage, hosts = _cast(params)
    with Witnesses(stage, hosts) as witnesses:
        witnesses.ask("clear", stage.target, f"{name}-")


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
    return Case(
        name, about, acts, prepare, check_equal, tuple(variants), tiny, clear=partial(clear, name)
    )


def _cast(params: Params) -> tuple[Stage, tuple[Host, ...]]:
    stage = Stage.load(params["stage"])
    hosts = stage.hosts[: params["frontends"]]
    assert len(hosts) == params["frontends"], f"{params['frontends']} frontends are needed, and {len(hosts)} are here"  # fmt: skip
    return stage, hosts


def _key_of(host: Host, keys: Mapping[str, str]) -> str:
    """Return the host key that known_hosts has for a port, or else for the address."""
    return keys.get(f"[{host.address}]:{host.port}") or keys[host.address]


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
        seen = tuple(
            Host("127.0.0.1", port, host.user) for host, port in zip(hosts, ports, strict=True)
        )
        keys = dict(line.split(" ", 1) for line in Path(stage.known_hosts).read_text().splitlines())
        lines = [
            f"[127.0.0.1]:{new.port} {_key_of(old, keys)}\n"
            for old, new in zip(hosts, seen, strict=True)
        ]
        (place / "known_hosts").write_text("".join(lines))
        yield replace(stage, known_hosts=str(place / "known_hosts")), seen, {proxy.pid}
        proxy.terminate()
