"""Test data made from a seed: the same bytes on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

SEED = 42
PIECE = 1 << 20


def noise(size: int, seed: int = SEED) -> bytes:
    """Return random bytes, which compress and repeat as little as a photograph."""
    made = random.Random(seed)
    return b"".join(made.randbytes(min(PIECE, size - at)) for at in range(0, size, PIECE))


def scattered(base: bytes) -> bytes:
    """Return a version with 64 edits in place, of 32 bytes each."""
    changed, made = bytearray(base), random.Random(SEED + 1)
    for _ in range(64):
        at = made.randrange(len(base) - 32)
        changed[at : at + 32] = made.randbytes(32)
    return bytes(changed)


def shuffled(base: bytes) -> bytes:
    """Return a version with its quarters in another order, not aligned to blocks."""
    cut = len(base) // 4 + 13
    one, two, three, four = (base[at : at + cut] for at in range(0, len(base), cut))
    return three + one + four + two


def sieved(base: bytes) -> bytes:
    """Return a version with a byte inserted after every 40,000: many searches, each with little gain."""
    return b"".join(base[at : at + 40_000] + b"x" for at in range(0, len(base), 40_000))


def decoys(size: int) -> tuple[bytes, bytes]:
    """Return blocks of which all begin with zeros, also where we look a second time; and nothing but zeros.

    Each offset of the new version has the weak sum of every block, and none is a block: the worst that is known for a
    search that sums two short windows.
    """
    from replicator.delta.signature import block_size_for
    from replicator.delta.sums import MAX_PROBE, WINDOW

    block = block_size_for(size)
    base = bytearray(noise(size))
    for start in range(0, size - block + 1, block):
        for window in (start, start + min(block // 2, MAX_PROBE)):
            base[window : window + WINDOW] = bytes(WINDOW)
    return bytes(base), bytes(size)


def _edited(edit: Callable[[bytes], bytes]) -> Callable[[int], tuple[bytes, bytes]]:
    def pair(size: int) -> tuple[bytes, bytes]:
        base = noise(size)
        return base, edit(base)

    return pair


def _middle(base: bytes) -> bytes:
    return base[: len(base) // 2] + noise(13, SEED + 2) + base[len(base) // 2 :]


PAIRS: dict[str, tuple[Callable[[int], tuple[bytes, bytes]], str]] = {
    "identical": (_edited(lambda base: base), "nothing changed"),
    "scattered": (_edited(scattered), "64 edits of 32 bytes in place"),
    "insert-front": (_edited(lambda base: noise(13, SEED + 2) + base), "13 bytes more in front"),
    "insert-middle": (_edited(_middle), "13 bytes more in the middle"),
    "append": (_edited(lambda base: base + noise(4096, SEED + 3)), "4 KiB more at the end"),
    "shuffle": (_edited(shuffled), "quarters in another order"),
    "zeros": (_edited(lambda base: bytes(len(base))), "all zeros now"),
    "unrelated": (_edited(lambda base: noise(len(base), SEED + 4)), "another file"),
    "sieve": (_edited(sieved), "a byte more in every 40,000"),
    "decoys": (decoys, "every offset looks like every block: our worst case"),
}
"""By name: how an old and a new version are made, and in words."""


def write_pair(directory: Path, size: int, edit: str) -> None:
    """Write `old` and `new`."""
    old, new = PAIRS[edit][0](size)
    (directory / "old").write_bytes(old)
    (directory / "new").write_bytes(new)


def write_tree(root: Path, files: int, size: int, *, folders: int = 100) -> None:
    """Write files of the same size, spread over folders."""
    made = random.Random(SEED)
    for number in range(min(folders, files)):
        (root / f"{number:03}").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (root / f"{number % folders:03}" / f"photo-{number}.jpg").write_bytes(made.randbytes(size))
