"""Whatever lies in a target, a comparison comes to its end, and what is not ours there goes."""

import os

import pytest

from replicator.wire.messages import ListTree
from tests.support.backend import Backend
from tests.support.disks import disk
from tests.support.pinned import Agent
from tests.support.releases import MixedFleet
from tests.support.waiting import wait_for

PIB = 1 << 50
HUGE = (2 * PIB, (1 << 63) - 4096)
"""Sizes that tmpfs takes."""


@pytest.fixture
def worlds(tmp_path):
    """Two frontends on file systems that take files of any size."""
    with disk(tmp_path / "old"), disk(tmp_path / "new"):
        for host in ("old", "new"):
            (tmp_path / host / "site").mkdir()
        yield tmp_path


def put_sparse(path, size):
    path.touch()
    os.truncate(path, size)


@pytest.mark.parametrize("size", HUGE)
def test_a_sparse_file_of_any_size_in_a_target_is_replaced_or_goes(worlds, size):
    for host in ("old", "new"):
        put_sparse(worlds / host / "site/stray", size)
        put_sparse(worlds / host / "site/ours", size)
    with Backend(worlds, ["old", "new"], MixedFleet(worlds)) as backend:
        (backend.source / "ours").write_text("ours")
        backend.wait_until_equal()
        assert all(row["last_error"] == "" for row in backend.status()["frontends"])


def test_a_file_of_holes_is_not_read_for_weeks_by_verify(worlds):
    """Its size differs, which is enough."""
    put_sparse(worlds / "new/site/stray", 2 * PIB)
    (worlds / "new/site/small").write_bytes(b"small")
    with Agent(worlds / "new") as agent:
        agent.open()
        agent.send(ListTree(1, 1, b"", digest=True, credit=9))
        lines = agent.hear().lines
        assert [(line.path, bool(line.entry.digest)) for line in lines] == [
            (b"small", True),
            (b"stray", False),
        ]


def test_a_sparse_file_that_appears_in_a_live_target_delays_no_change(worlds):
    with Backend(worlds, ["old", "new"], MixedFleet(worlds)) as backend:
        (backend.source / "f").write_text("f")
        backend.wait_until_equal()
        put_sparse(backend.site("new") / "stray", 2 * PIB)
        backend.connector.kill("new")
        wait_for(lambda: backend.row("new")["logins"] == 2, backend.explain)
        backend.wait_until_equal()
