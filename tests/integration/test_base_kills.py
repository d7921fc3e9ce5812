"""A backend that is killed while it publishes and prunes, at any moment, leaves a base that can be restored completely."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.support import weed

KILLS = 200

SECONDS = 1500
"""Time limit: 200 kills take a minute of waiting alone, and after each the whole base is read."""


@pytest.mark.timeout(SECONDS + 60)
def test_a_kill_at_any_moment_leaves_a_complete_base(tmp_path):
    with weed.Weed(tmp_path / "weed") as store:
        run = subprocess.run(
            [sys.executable, "-m", "tests.support.base_child", tmp_path, store.url, str(KILLS)],
            env={**os.environ, **weed.ENVIRONMENT}, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rows) == KILLS
    steps = Counter(row["step"] for row in rows)
    print(dict(steps))
    assert {"put packs", "put manifests", "swap trees", "delete"} <= steps.keys(), steps
    assert rows[-1]["entries"][0] > 10
