"""What the tests of the suite share: a way to call it, and rows of every case on files."""

import subprocess
import sys

import pytest

from bench import peers
from tests.support.tools import missing


def call(*arguments, seconds=300):
    """Run the suite's command line."""
    command = [sys.executable, "-m", "bench", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, error = process.communicate(timeout=seconds)
        except BaseException:
            process.terminate()  # then it takes down what it has put up
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


@pytest.fixture(scope="session")
def bench():
    return call


@pytest.fixture(scope="session")
def micro_rows(tmp_path_factory):
    """A file with rows of every case that needs no frontends, made with every contestant."""
    from bench import micro

    for name in ("rdiff", "rsync"):
        if why := peers.missing(name):
            missing(why)
    path = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    names = [case.name for case in micro.CASES]
    done = call("run", *names, "--rounds", "1", "--tiny", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr
    return path
