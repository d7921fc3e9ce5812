"""Definition and registry of fuzz targets."""

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
        name: its name, and that of the directory of its corpus.
        run: takes any bytes. An exception from it is a bug; its docstring names the documented exceptions that it catches.
        seeds: valid inputs, made with replicator's encoders.
        mutate: makes a valid input slightly wrong.
        swell: memory limit in bytes per byte of input, in addition to MEMORY.
        limit: maximum length of an input in bytes; longer inputs are cut.
        effort: number of inputs that the short run tries.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    mutate: Mutator
    swell: int
    limit: int
    effort: int

    def __call__(self, data: bytes) -> None:
        """Run the target with one input."""
        self.run(data[: self.limit])

    def near(self, data: bytes, rng: Random) -> bytes:
        """Return an input that differs a little from `data`."""
        return mutate.repeated(self.mutate, data, rng)[: self.limit]


MEMORY = 8 << 20
"""Memory in bytes that every target may use for buffers of a fixed size."""


def target(
    *seeds: bytes,
    mutate: Mutator = mutate.octets,
    swell: int = 40,
    limit: int = 4096,
    effort: int = 200,
):
    """Return a decorator that registers a function (bytes) -> None as a target under its own name."""

    def register(run):
        name = run.__name__
        TARGETS[name] = Target(name, run, (b"", *seeds), mutate, swell, limit, effort)
        return run

    return register


def sentence(error: Exception, most: int = 1000) -> None:
    """Assert that an error message is printable and has at most `most` characters."""
    assert str(error).isprintable()
    assert len(str(error)) <= most
