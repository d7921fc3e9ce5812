"""Signals at any moment of the daemon's start: a stop is an end with status 0, and a reload is followed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.waiting import FOREVER, wait_for

OFFSETS = [0, 50, 100, 200, 300, 400, 500, 700, 1000]
"""Milliseconds after the process handles signals: during its imports, while it starts, and while it serves."""


@pytest.fixture
def backend(tmp_path):
    for name in ("source", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "known_hosts").touch()
    configure(tmp_path, "source")
    return tmp_path


def configure(directory, source, state="state", level="info"):
    (directory / "replicator.toml").write_text(
        f'[[tree]]\nsource = "{source}"\ntarget = "/srv/nothing"\n'
        f'[ssh]\nknown_hosts = "known_hosts"\n[state]\ndirectory = "{state}"\n[log]\nlevel = "{level}"\n'
    )


def start(directory):
    log = (directory / "log").open("w")
    command = [
        sys.executable,
        "-m",
        "replicator",
        "serve",
        "--config",
        directory / "replicator.toml",
    ]
    with log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def handles(process, number):
    """Return True if a process catches a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16)
    return bool(caught & 1 << number - 1)


def signalled(directory, number, offset):
    """Start the daemon, and send it a signal so many milliseconds after it handles signals."""
    process = start(directory)
    while not handles(process, signal.SIGHUP):
        assert process.poll() is None
    time.sleep(offset / 1000)  # the moment is the test
    process.send_signal(number)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("offset", OFFSETS)
def test_a_stop_is_an_end_with_status_0(backend, number, offset):
    process = signalled(backend, number, offset)
    try:
        assert process.wait(FOREVER) == 0
        assert "Traceback" not in (backend / "log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_reload_is_followed(backend, offset):
    process = start(backend)
    try:
        while not handles(process, signal.SIGHUP):
            assert process.poll() is None
        time.sleep(offset / 1000)  # as above
        configure(backend, "other")
        process.send_signal(signal.SIGHUP)

        def reloaded():
            assert process.poll() is None, (backend / "log").read_text()
            return '"reloaded"' in (backend / "log").read_text()

        wait_for(reloaded, (backend / "log").read_text, FOREVER)
        process.terminate()
        assert process.wait(FOREVER) == 0
        assert "Traceback" not in (backend / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_a_reload_that_is_refused_leaves_the_log_as_it_was(backend):
    process = start(backend)
    try:
        log = (backend / "log").read_text
        wait_for(lambda: '"serving"' in log(), log, FOREVER)
        configure(backend, "source", state="elsewhere", level="error")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"not reloaded"' in log(), log, FOREVER)
        process.terminate()
        assert process.wait(FOREVER) == 0
        assert '"stopped"' in log()  # at level info
    finally:
        process.kill()
        process.wait()


def test_signals_are_handled_before_anything_large_is_imported():
    code = "import sys, replicator.__main__, replicator.early; sys.exit('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
    assert done.returncode == 0
