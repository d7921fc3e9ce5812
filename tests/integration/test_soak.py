"""The soak, once round: every fault, and equality after it. `make soak` runs it for ten minutes."""

import os

import pytest

from tests.soak.__main__ import Soak
from tests.soak.meter import Held, growth
from tests.support.sshd import needs_namespaces


@pytest.mark.timeout(240)
def test_every_fault_once_and_all_is_equal(tmp_path):
    needs_namespaces()
    soak = Soak(tmp_path, seed=int(os.environ.get("REPLICATOR_SEED", "1")))
    lines = []
    soak.run(0, write_line=lines.append, each=0)
    assert soak.violations == [], lines
    assert set(soak.faults.counts.values()) == {1}
    assert soak.workload.steps > 100
    assert soak.reader.reads > 100
    assert soak.checks == 2


def test_growth_is_complained_of_within_one_life():
    flat = [Held(1, 90.0, 40), Held(1, 110.0, 45), Held(2, 95.0, 40)]
    assert growth(flat) == []
    assert growth([*flat, Held(1, 170.0, 45)]) == []
    assert "memory of process 1" in growth([*flat, Held(1, 180.0, 45)])[0]
    assert "memory of process 3" in growth([*flat, Held(3, 301.0, 45)])[0]
    assert "descriptors of process 2" in growth([*flat, Held(2, 95.0, 57)])[0]
