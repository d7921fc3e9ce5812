"""Rows into Markdown: medians with their extremes, ratios to each peer, targets met and missed, and the machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.runner import OURS
from bench.targets import TARGETS

Row = dict[str, Any]
Group = tuple[str, str]
ByName = dict[str, list[Row]]


def grouped(rows: Iterable[Row]) -> dict[Group, ByName]:
    """Return the rows by case and parameters, then by contestant, in the order in which they came."""
    found: dict[Group, ByName] = {}
    for row in rows:
        key = (row["case"], describe(row["params"]))
        found.setdefault(key, {}).setdefault(row["contestant"], []).append(row)
    return found


def describe(params: dict[str, Any]) -> str:
    """Return parameters for people."""
    return ", ".join(_one(name, value) for name, value in params.items() if name != "bulky")


def _one(name: str, value: Any) -> str:
    if name in {"size", "on"}:
        return size(value) if name == "size" else str(value)
    return f"{name.removesuffix('_ms')} {value}{' ms' if name.endswith('_ms') else ''}"


def size(count: float) -> str:
    """Return bytes for people."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Return a time for people."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def median(rows: Sequence[Row], name: str) -> float:
    """Return the median of a figure."""
    return statistics.median(float(row[name] or 0) for row in rows)


def markdown(rows: Sequence[Row]) -> str:
    """Return the report: every case, the targets, and the machine."""
    groups = grouped(rows)
    machines = {json.dumps(row["machine"]) for row in rows}
    return "\n".join(
        [
            "| case | contestant | median (min to max) | its time / ours | CPU | peak RSS | bytes out | and |",
            "|---|---|---|---|---|---|---|---|",
            *(line for (case, about), of in groups.items() for line in _lines(case, about, of)),
            "",
            "| target | wanted | seen | |",
            "|---|---|---|---|",
            *_target_lines(groups),
            "",
            *(f"Machine: {text}" for text in sorted(machines)),
        ]
    )


def _lines(case: str, about: str, by_name: ByName) -> Iterable[str]:
    for name, rows in by_name.items():
        seconds = [row["seconds"] for row in rows]
        wire = rows[0]["wire_bytes"]
        cells = [
            f"{case} ({about})",
            name,
            f"{duration(statistics.median(seconds))} ({duration(min(seconds))} to {duration(max(seconds))}), n={len(rows)}",
            "" if name == OURS or OURS not in by_name else f"{ratio(by_name, name):.2f}×",
            duration(median(rows, "cpu_seconds")),
            size(median(rows, "peak_rss_bytes")) if rows[0]["peak_rss_bytes"] else "",
            "" if wire is None else size(median(rows, "wire_bytes")),
            "; ".join(_figures(rows)),
        ]
        yield f"| {' | '.join(cells)} |"


def _figures(rows: Sequence[Row]) -> Iterable[str]:
    for name in rows[0].get("figures", {}):
        value = statistics.median(row["figures"][name] for row in rows)
        if name.endswith("_seconds"):
            yield f"{name.removesuffix('_seconds').replace('_', ' ')} {duration(value)}"
        else:
            yield f"{name.replace('_', ' ')} {value:.3g}"


def ratio(by_name: ByName, peer: str) -> float:
    """Return how many times a peer's median is ours."""
    return median(by_name[peer], "seconds") / max(median(by_name[OURS], "seconds"), 1e-9)


def _target_lines(groups: dict[Group, ByName]) -> Iterable[str]:
    for target in TARGETS:
        for (case, about), by_name in groups.items():
            if case in target.cases and (found := target.measure(by_name)) is not None:
                met = "met" if target.met(found) else "**missed**"
                yield f"| {case} ({about}): {target.about} | {target.wanted} | {found:.3g}{target.unit} | {met} |"


def compare(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return, for each case and contestant in both, the new median as a part of the old one."""
    before, after = grouped(old), grouped(new)
    lines = ["| case | contestant | old | new | new / old |", "|---|---|---|---|---|"]
    for (case, about), by_name in before.items():
        for name in by_name:
            if name in after.get((case, about), {}):
                one, two = median(by_name[name], "seconds"), median(after[case, about][name], "seconds")  # fmt: skip
                lines.append(f"| {case} ({about}) | {name} | {duration(one)} | {duration(two)} | {two / one:.2f} |")  # fmt: skip
    return "\n".join(lines)
