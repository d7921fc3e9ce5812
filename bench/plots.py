"""Rows into pictures: each case's contestants as bars, medians with their extremes. Needs matplotlib."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import ByName, Group, Row, duration, grouped
from bench.runner import OURS

COLUMNS = 3
COLOURS = {True: "#1a7f5a", False: "#9aa5b1"}


def draw(rows: Sequence[Row], directory: Path) -> list[Path]:
    """Draw the cases on one file and those with frontends, a picture each; return the files.

    Raises:
        ImportError: matplotlib is not installed (pip install --group bench).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Row]] = {"micro": [], "whole": []}
    for row in rows:
        parts["whole" if "frontends" in row["params"] else "micro"].append(row)
    return [
        _picture(grouped(part), directory / f"{name}.png") for name, part in parts.items() if part
    ]


def _picture(groups: dict[Group, ByName], path: Path) -> Path:
    from matplotlib import pyplot as plt

    lines = math.ceil(len(groups) / COLUMNS)
    figure, axes = plt.subplots(
        lines, COLUMNS, figsize=(5.2 * COLUMNS, 2.1 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(groups) :]:
        axis.remove()
    for axis, ((case, about), by_name) in zip(axes.flat, groups.items(), strict=False):
        _bars(axis, by_name)
        axis.set_title(f"{case}\n{about}", fontsize=8, loc="left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _bars(axis: Any, by_name: ByName) -> None:
    names = list(by_name)
    values = [[float(row["seconds"]) for row in by_name[name]] for name in names]
    medians = [statistics.median(seconds) for seconds in values]
    spread = [
        [middle - min(seconds) for middle, seconds in zip(medians, values, strict=True)],
        [max(seconds) - middle for middle, seconds in zip(medians, values, strict=True)],
    ]
    colours = [COLOURS[name.startswith(OURS)] for name in names]
    bars = axis.barh(names, medians, xerr=spread, color=colours, ecolor="#555555", capsize=2)
    axis.bar_label(bars, [f" {duration(middle)}" for middle in medians], fontsize=7)
    axis.margins(x=0.25)
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
