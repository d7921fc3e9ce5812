"""A daemon that starts under a limit of memory or descriptors works, or ends with one line that names what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import FOREVER

CONFIG = """
[[tree]]
source = "source"
target = "/srv/site"

[discovery]
frontends = []

[state]
directory = "state"
"""
MIB = 1 << 20
WORDS = (
    "replicator: there is not enough memory",
    "replicator: no thread can be started",
    "replicator: Too many open files",
    "replicator: The catalog ",  # cannot be opened: Too many open files
    "OpenBLAS error: Memory allocation",  # a library of NumPy ends the process itself
)


def start(directory, what, most):
    """Start a daemon under a limit; return its exit status and its output, or None if it works."""
    (directory / "source").mkdir()
    (directory / "replicator.toml").write_text(CONFIG)
    log = directory / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                "prlimit",
                f"--{what}={most}",
                sys.executable,
                "-m",
                "replicator",
                "serve",
                "--config",
                directory / "replicator.toml",
            ],
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parents[2],
        )
    socket = directory / "state" / "control.sock"
    try:
        while not socket.exists():
            try:
                return daemon.wait(0.05), log.read_text()
            except subprocess.TimeoutExpired:
                continue
        return None
    finally:
        daemon.terminate()
        daemon.wait(FOREVER)


@pytest.mark.parametrize(
    ("what", "limits"),
    [
        ("nofile", (6, 8, 10, 14, 18, 64)),
        ("as", (60 * MIB, 100 * MIB, 140 * MIB, 1024 * MIB)),
    ],
)
def test_a_daemon_works_or_ends_with_one_line_that_names_what_it_lacks(tmp_path, what, limits):
    works = []
    for most in limits:
        directory = tmp_path / str(most)
        directory.mkdir()
        ended = start(directory, what, most)
        works.append(ended is None)
        if ended is not None:
            status, printed = ended
            assert status == 1, printed
            assert "Traceback" not in printed
            assert any(line.startswith(WORDS) for line in printed.splitlines()), printed
    assert works == sorted(works)
    assert works[-1]
    assert not works[0]
