"""The delta path on a tree of uploads: many files that are large enough for a delta, each edited in one way or another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from bench import data
from bench.case import Case, Params, Work, timed
from bench.micro import delta
from bench.peers import call, missing

SMALLEST, LARGEST = 64 << 10, 8 << 20
EDITS = (
    "identical",
    "scattered",
    "insert-front",
    "insert-middle",
    "append",
    "shuffle",
    "unrelated",
)


def places(at: Path) -> Iterator[Path]:
    """Yield the directory of each file: it has `old`, `new` and their signatures."""
    yield from sorted((at / "files").iterdir())


def replicator(at: Path, params: Params) -> int:
    """Compare and apply each."""
    wire = 0
    for place in places(at):
        wire += delta.delta(place, params)
        delta.patch(place, params)
    return wire


def rdiff(at: Path, params: Params) -> int:
    """The same by librsync, which starts two processes for each."""
    wire = 0
    for place in places(at):
        wire += delta.rdiff_delta(place, params)
        delta.rdiff_patch(place, params)
    return wire


def rsync(at: Path, _: Params) -> None:
    """All of it in one call, signatures included."""
    call("rsync", "-r", "--no-whole-file", "--ignore-times", f"{at}/new/", f"{at}/copy/")


def _prepare(at: Path, params: Params) -> None:
    made = random.Random(data.SEED)
    for name in ("new", "copy", "files"):
        (at / name).mkdir()
    for number in range(params["files"]):
        place = at / "files" / f"{number:04}"
        place.mkdir()
        size = int(SMALLEST * (LARGEST / SMALLEST) ** made.random())
        data.write_pair(place, size, EDITS[number % len(EDITS)])
        delta.sign(place, params)
        delta.write_digest(place)
        if not missing("rdiff"):
            delta.rdiff_sign(place, params)
        (at / "new" / place.name).write_bytes((place / "new").read_bytes())
        (at / "copy" / place.name).write_bytes((place / "old").read_bytes())


def _check(contestant: str, at: Path, _: Params) -> None:
    made = {"rsync": "../../copy/{}", "rdiff": "rdiff.new", "replicator": "site/file"}[contestant]
    for place in places(at):
        assert (place / made.format(place.name)).read_bytes() == (place / "new").read_bytes()


WORKS: dict[str, Work] = {"replicator": replicator, "rdiff": rdiff, "rsync": rsync}

CASES = [
    Case(
        "delta-tree", "uploads of 64 KiB to 8 MiB, each edited: compare and apply",
        {name: timed(work) for name, work in WORKS.items()}, _prepare, _check,
        variants=({"files": 100, "bulky": True},), tiny={"files": 7, "bulky": True}, load=delta.load,
    ),
]  # fmt: skip
