"""A short, repeatable run of all fuzz targets with slightly wrong inputs; `python -m tests.fuzz` runs them for longer."""

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.wire.frames import MAX_HEADER, MAX_PAYLOAD
from tests.fuzz import corpus, mutate
from tests.fuzz.target import MEMORY
from tests.fuzz.targets import TARGETS

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
randoms = st.integers(0, 2**64 - 1).map(Random)


@every_target
def test_what_is_almost_right(target):
    @settings(
        max_examples=target.effort,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(target.seeds), randoms)
    def near(seed, rng):
        target(target.near(seed, rng))

    near()


def bombs(target):
    """Return inputs that are expensive to parse, such as deep nesting, at the target's maximum length."""
    return [(bomb * target.limit)[: target.limit] for bomb in mutate.BOMBS]


@every_target
def test_what_was_found_before_takes_bounded_memory(target):
    for data in (
        *target.seeds,
        *bombs(target),
        *(file.read_bytes() for file in corpus.files(target.name)),
    ):
        target(data)  # first run: imports and caches do not count
        tracemalloc.start()
        try:
            target(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= MEMORY + target.swell * len(data), data[:100]


@pytest.mark.parametrize("item", [b"[]", b'"\\ud800"', b'[[["x"]]]', b"1e9"])
def test_the_largest_frame(item):
    text = b'{"t":"batch","changes":[%s]}'
    room = MAX_HEADER - len(text)
    text %= b",".join([item] * (room // (len(item) + 1)))
    tracemalloc.start()
    try:
        TARGETS["connection"].run(mutate.frame(text, bytes(MAX_PAYLOAD)))
        assert tracemalloc.get_traced_memory()[1] <= 64 << 20
    finally:
        tracemalloc.stop()


def test_the_corpus_is_small():
    held = [file for name in TARGETS for file in corpus.files(name)]
    assert sum(file.stat().st_size for file in held) < 1 << 20
    assert {path.name for path in corpus.CORPUS.iterdir()} <= TARGETS.keys()
