"""Fixtures of several tests of the engine."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clock import virtual_time
from tests.support.ends import Ends
from tests.support.sending import Sending
from tests.support.stage import Stage
from tests.support.world import World


@pytest.fixture
async def clock():
    """For tests of how long something waits: see `tests.support.clock`."""
    virtual_time()


@pytest.fixture
async def sending(clock):
    with ThreadPoolExecutor(1) as pool:
        yield Sending(pool)


@pytest.fixture
async def ends(clock):
    return Ends()


@pytest.fixture
async def stage():
    with ThreadPoolExecutor(2) as pool:
        made = Stage(pool)
        yield made
        await made.stop()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()
