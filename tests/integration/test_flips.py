"""Names whose kind changes faster than a check can read it; see tests/support/flips.py.

`REPLICATOR_FLIP_TURNS=300 pytest tests/integration/test_flips.py` is a hunt: what it found came once in a hundred turns.
"""

import os
import random
import subprocess
import sys

import pytest

from tests.support import PROJECT
from tests.support.backend import Backend
from tests.support.flips import PAUSES
from tests.support.uploader import temporaries

TURNS = int(os.environ.get("REPLICATOR_FLIP_TURNS", "8"))
SEED = int(os.environ.get("REPLICATOR_FLIP_SEED", "0")) or random.randrange(1 << 30)


@pytest.mark.timeout(60 + 25 * TURNS)
def test_a_few_names_that_flip_in_bursts_end_equal(tmp_path):
    rng = random.Random(SEED)
    stage = tmp_path / "stage"
    stage.mkdir()
    with Backend(tmp_path, tree={"delete_guard": 1}) as backend:
        backend.wait_until_equal()
        for turn in range(TURNS):
            how = [rng.randrange(1 << 30), rng.choice([20, 200, 400]), rng.choice(PAUSES)]
            print(f"{SEED=} {turn=} seed, steps, pause: {how}")
            command = [sys.executable, "-m", "tests.support.flips", backend.source, stage]
            subprocess.run([*command, *map(str, how)], cwd=PROJECT, check=True)
            backend.wait_until_equal()
            assert not temporaries(backend)
        assert backend.status()["trees"][0]["state"] == "watching"
