"""Performance targets relative to other programs measured in the same call. They are minimum requirements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ByName = Mapping[str, Sequence[Mapping[str, Any]]]
Measure = Callable[[ByName], float | None]


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes:
        cases: the names of the cases that it is about.
        about: what is compared.
        measure: the figure, from one case's rows by contestant; None if somebody is missing.
        bound: the least (or the most) that is wanted.
        most: the bound is an upper one.
        unit: of the figure.
    """

    cases: tuple[str, ...]
    about: str
    measure: Measure
    bound: float
    most: bool = False
    unit: str = "×"

    def met(self, found: float) -> bool:
        """Whether a figure is good enough."""
        return found <= self.bound if self.most else found >= self.bound

    @property
    def wanted(self) -> str:
        """The bound, for people."""
        return f"{'at most' if self.most else 'at least'} {self.bound:g}{self.unit}"


def _median(by_name: ByName, name: str, figure: str) -> float | None:
    if name not in by_name:
        return None
    return statistics.median(
        float(row[figure] if figure in row else row["figures"][figure]) for row in by_name[name]
    )


def _over(peer: str, figure: str = "seconds", ours: str = "replicator") -> Measure:
    """Return a measure: the peer's median divided by ours."""

    def measure(by_name: ByName) -> float | None:
        theirs, mine = _median(by_name, peer, figure), _median(by_name, ours, figure)
        return None if theirs is None or mine is None else theirs / max(mine, 1e-9)

    return measure


def _faster(cases: str | tuple[str, ...], peer: str, factor: float, ours: str = "replicator") -> Target:  # fmt: skip
    cases = (cases,) if isinstance(cases, str) else cases
    return Target(cases, f"{ours} against {peer}: time", _over(peer, ours=ours), factor)


def _least(case: str, about: str, peer: str, figure: str, factor: float, ours: str = "replicator") -> Target:  # fmt: skip
    """Ours is at most `factor` times the peer's."""

    def measure(by_name: ByName) -> float | None:
        found = _over(peer, figure, ours)(by_name)
        return None if not found else 1 / found

    return Target((case,), about, measure, factor, most=True)


def _figure(case: str, about: str, figure: str, bound: float, unit: str, factor: float) -> Target:
    def measure(by_name: ByName) -> float | None:
        found = _median(by_name, "replicator", figure)
        return None if found is None else found * factor

    return Target((case,), about, measure, bound, most=True, unit=unit)


def _cpu_of_each(by_name: ByName) -> float | None:
    """Return the milliseconds of the backend's CPU for each frontend that restores from the base."""
    rows = by_name.get("replicator-base", ())
    each = [row["cpu_seconds"] / row["params"]["frontends"] for row in rows]
    return statistics.median(each) * 1000 if each else None


def _cpu_of_a_hundred(by_name: ByName) -> float | None:
    rows = [row for row in by_name.get("replicator", ()) if row["params"]["frontends"] == 100]
    return statistics.median(row["cpu_seconds"] for row in rows) if rows else None


ALIKE = ("delta-identical", "delta-scattered", "delta-insert-front", "delta-insert-middle", "delta-append")  # fmt: skip
OTHERS = ("delta-shuffle", "delta-zeros", "delta-sieve", "delta-decoys")

FRAMING = 1024
"""Bytes of a delta that are not literals, if it has almost none: numbers, pairs and field names in JSON."""


def _literal(by_name: ByName) -> float | None:
    ours, theirs = _median(by_name, "replicator", "wire_bytes"), _median(by_name, "rdiff", "wire_bytes")  # fmt: skip
    return None if ours is None or theirs is None else max(0, ours - FRAMING) / theirs


def _flat(by_name: ByName) -> float | None:
    full, empty = _median(by_name, "replicator", "seconds"), _median(by_name, "replicator", "empty_seconds")  # fmt: skip
    return None if full is None or empty is None else full / empty


TARGETS = [
    _faster("signature", "rdiff", 2.5),
    _faster("signature", "rdiff", 8, "replicator-bare"),
    _faster(ALIKE, "rdiff", 2.5),
    _faster(ALIKE, "rdiff", 8, "replicator-bare"),
    _faster("delta-unrelated", "rdiff", 4),
    _faster("delta-unrelated", "rsync", 2.5),
    _faster(OTHERS, "rdiff", 1),
    _faster("patch", "rdiff", 0.5),
    Target((*ALIKE, *OTHERS, "delta-unrelated"), "bytes out, to rdiff's", _literal, 1.1, most=True),
    _faster("latency", "lsyncd-tuned", 35),
    *(_faster("latency", peer, 1) for peer in ("lsyncd", "unison", "unison-spin", "syncthing")),
    _figure("latency", "the median", "seconds", 10, " ms", 1000),
    _faster("burst", "lsyncd-tuned", 2),
    _faster("burst", "unison", 1.2),
    _faster("bootstrap-1", "rsync", 1.1),
    _faster("bootstrap-1", "rsync", 2, "replicator-base"),
    _faster("bootstrap-1", "unison", 3),
    _faster("bootstrap-10", "rsync", 1.1),
    _faster("bootstrap-10", "rsync", 1.1, "replicator-unlimited"),
    _least("bootstrap-10", "CPU of the backend, to rsync's", "rsync", "cpu_seconds", 1),
    _least(
        "bootstrap-10",
        "CPU of the backend with a base, to rsync's",
        "rsync",
        "cpu_seconds",
        0.1,
        "replicator-base",
    ),
    Target(
        ("bootstrap-100",),
        "CPU of the backend with a base, for each frontend",
        _cpu_of_each,
        50,
        most=True,
        unit=" ms",
    ),
    Target(
        ("restart",),
        "CPU of the backend with a hundred frontends",
        _cpu_of_a_hundred,
        10,
        most=True,
        unit=" s",
    ),
    _faster("noop", "rsync", 1.5),
    _least("away", "bytes, to rsync's", "rsync", "wire_bytes", 1.1),
    Target(("flat-dir",), "beside 50,000 files, to beside one", _flat, 2, most=True),
    _figure("scale", "peak RSS", "peak_rss_bytes", 400, " MB", 1e-6),
    _figure("scale", "start with a catalog", "warm_seconds", 30, " s", 1),
    _figure("scale", "CPU at rest", "idle_cpu", 1, " %", 100),
]
