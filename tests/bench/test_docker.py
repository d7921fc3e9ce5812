"""The suite on containers, where a docker engine runs: `.ci/run` starts one if it can, and prints a message if it cannot."""

import json
import os
import subprocess
import time

import pytest

from bench.stage import docker
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get("REPLICATOR_DOCKER"),
        reason="asked for with REPLICATOR_DOCKER=1, because it builds images",
    ),
]


def test_the_suite_runs_on_containers_and_leaves_none(bench):
    arguments = ["--on", "docker", "--tiny", "--rounds", "1"]
    arguments += ["--contestant", "replicator", "--contestant", "lsyncd-tuned"]
    done = bench("run", "latency", "bootstrap-10", *arguments, seconds=800)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(row["case"], row["contestant"]) for row in rows} == {
        ("latency", "replicator"), ("latency", "lsyncd-tuned"), ("bootstrap-10", "replicator"),
    }  # fmt: skip
    assert all(row["params"]["on"] == "docker" for row in rows)
    names = ["docker", "ps", "-a", "-q", "--filter", "label=com.docker.compose.project=replicator-bench"]  # fmt: skip
    assert subprocess.run(names, check=True, capture_output=True).stdout == b""


def test_the_composition_replicates_by_itself_to_frontends_found_by_dns():
    """What `docker-compose up --scale frontend=3` gives its user."""
    with docker.up(3) as compose:

        def inside(service, index, command):
            where = ["exec", "-T", f"--index={index}", service, "sh", "-c", command]
            done = subprocess.run(
                [*compose, *where], cwd=docker.TOP, env=docker.environment(), check=False, capture_output=True, text=True
            )  # fmt: skip
            return done.stdout.strip()

        def live():
            rows = json.loads(inside("backend", 1, "replicator status --json") or "{}")
            return [row["state"] for row in rows.get("frontends", [])] == ["live"] * 3

        wait_for(live, "three live frontends", 60, pause=0.5)
        inside("backend", 1, f"echo {time.time_ns()} >/var/www/upload/photo")
        content = inside("backend", 1, "cat /var/www/upload/photo")
        assert content
        for index in (1, 2, 3):
            wait_for(
                lambda index=index: inside("frontend", index, "cat /var/www/upload/photo") == content,
                f"the upload on frontend {index}", 30, pause=0.2,
            )  # fmt: skip
