"""Rows into tables: medians with their extremes, and how often ours goes into theirs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

OURS = "replicator"
Row = dict[str, Any]
Group = tuple[str, int]


def grouped(rows: Iterable[Row]) -> dict[Group, dict[str, list[Row]]]:
    """Return the rows by case and size, then by contestant, in the order in which they came."""
    found: dict[Group, dict[str, list[Row]]] = {}
    for row in rows:
        key = (row["case"], row["params"]["size"])
        found.setdefault(key, {}).setdefault(row["contestant"], []).append(row)
    return found


def median(rows: Sequence[Row], name: str) -> float:
    """Return the median of a figure."""
    return statistics.median(float(row[name] or 0) for row in rows)


def markdown(rows: Sequence[Row]) -> str:
    """Return the report: one table, and the machine below it."""
    lines = [
        "| case | size | contestant | median s (min to max) | CPU s | peak MiB | bytes out | its time / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (case, size), by_name in grouped(rows).items():
        ours = by_name.get(OURS)
        for name, of_name in by_name.items():
            seconds = [row["seconds"] for row in of_name]
            ratio = "" if ours is None or name == OURS else f"{median(of_name, 'seconds') / median(ours, 'seconds'):.2f}×"  # fmt: skip
            wire = of_name[0]["wire_bytes"]
            lines.append(
                f"| {case} | {size >> 10} KiB | {name} | {median(of_name, 'seconds'):.4f}"
                f" ({min(seconds):.4f} to {max(seconds):.4f}) | {median(of_name, 'cpu_seconds'):.3f}"
                f" | {median(of_name, 'peak_rss_bytes') / 2**20:.0f} | {wire if wire is not None else ''} | {ratio} |"
            )
    machines = {str(row["machine"]) for row in rows}
    return "\n".join([*lines, "", *(f"Machine: {text}" for text in sorted(machines))])


def compare(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return, for each case and contestant in both, the new median as a part of the old one."""
    before, after = grouped(old), grouped(new)
    lines = [
        "| case | size | contestant | old s | new s | new / old |",
        "|---|---|---|---|---|---|",
    ]
    for key in before:
        for name in before[key]:
            if name in after.get(key, {}):
                one, two = median(before[key][name], "seconds"), median(after[key][name], "seconds")
                lines.append(f"| {key[0]} | {key[1] >> 10} KiB | {name} | {one:.4f} | {two:.4f} | {two / one:.2f} |")  # fmt: skip
    return "\n".join(lines)
