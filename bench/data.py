"""Seeded data: the same bytes on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

SEED = 42
PIECE = 1 << 20


def noise(size: int, seed: int = SEED) -> bytes:
    """Return bytes that compress and repeat as little as a photograph."""
    made = random.Random(seed)  # noqa: S311  # data, no secret
    return b"".join(made.randbytes(min(PIECE, size - at)) for at in range(0, size, PIECE))


def scattered(base: bytes) -> bytes:
    """64 edits of 32 bytes in place."""
    changed, made = bytearray(base), random.Random(SEED + 1)  # noqa: S311
    for _ in range(64):
        at = made.randrange(len(base) - 32)
        changed[at : at + 32] = made.randbytes(32)
    return bytes(changed)


def shuffled(base: bytes) -> bytes:
    """Quarters in another order, cut where no block ends."""
    cut = len(base) // 4 + 13
    one, two, three, four = (base[at : at + cut] for at in range(0, len(base), cut))
    return three + one + four + two


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "identical": lambda base: base,
    "scattered": scattered,
    "insert-front": lambda base: noise(13, SEED + 2) + base,
    "insert-middle": lambda base: base[: len(base) // 2] + noise(13, SEED + 2) + base[len(base) // 2 :],
    "append": lambda base: base + noise(4096, SEED + 3),
    "shuffle": shuffled,
    "zeros": lambda base: bytes(len(base)),
    "unrelated": lambda base: noise(len(base), SEED + 4),
}  # fmt: skip
"""How a new version comes from an old one."""


def write_pair(directory: Path, size: int, edit: str) -> None:
    """Write `old` and `new`."""
    base = noise(size)
    (directory / "old").write_bytes(base)
    (directory / "new").write_bytes(EDITS[edit](base))
