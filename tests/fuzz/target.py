"""What a target is, and the list of them."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.fuzz import mutate

Mutator = Callable[[bytes, Random], bytes]

TARGETS = {}


@dataclass(frozen=True)
class Target:
    """One parser under test.

    Attributes:
        name: what it is called, and the directory of its corpus.
        run: takes any bytes; whatever comes out of it is a finding. Its docstring says what it swallows, as documented.
        seeds: valid inputs, from real encoders.
        mutate: makes a valid input slightly wrong.
        swell: bytes of memory that it may take for each byte of input, and MEMORY besides.
        limit: bytes of input that are of use.
        effort: how many inputs the short run tries.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    mutate: Mutator
    swell: int
    limit: int
    effort: int

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        self.run(data[: self.limit])

    def near(self, data: bytes, rng: Random) -> bytes:
        """Return an input that differs a little from `data`."""
        return mutate.repeated(self.mutate, data, rng)[: self.limit]


MEMORY = 8 << 20
"""Bytes that any target may take, however small its input: buffers of a fixed size."""


def target(
    *seeds: bytes,
    mutate: Mutator = mutate.octets,
    swell: int = 40,
    limit: int = 4096,
    effort: int = 200,
):
    """Register a function bytes -> None under its own name."""

    def register(run):
        name = run.__name__
        TARGETS[name] = Target(name, run, (b"", *seeds), mutate, swell, limit, effort)
        return run

    return register


def sentence(error: Exception, most: int = 1000) -> None:
    """See that what a person will read is printable, and no longer than that."""
    assert str(error).isprintable()
    assert len(str(error)) <= most
