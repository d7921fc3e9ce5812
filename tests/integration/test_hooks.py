"""Hooks of a running backend: they get the delivered paths, one run at a time, and unable to delay replication."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from replicator.config import parse
from replicator.errors import ConfigError
from tests.support.backend import Backend
from tests.support.waiting import wait_for

RECORD = """
import json, os, sys, time
event = json.load(sys.stdin)
event["began"] = time.time()
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(event) + "\\n")
time.sleep(float(sys.argv[2]))
with open(sys.argv[1] + ".ends", "a") as file:
    file.write(f"{time.time()}\\n")
"""


def hook(event, path, seconds=0.0, **more):
    command = [sys.executable, "-c", RECORD, str(path), str(seconds)]
    return {"event": event, "command": command, "batch": 0.05, **more}


def runs(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def make(tmp_path):
    made = []

    def make(*hooks):
        backend = Backend(tmp_path, hook=list(hooks))
        made.append(backend)
        backend.call(start(backend))
        backend.wait_until_equal()
        return backend

    async def start(backend):
        backend.app.set_hooks(backend.config)
        backend.watching = asyncio.get_running_loop().create_task(
            backend.app.requests.history.run()
        )

    async def end(backend):
        backend.watching.cancel()
        await backend.app.hooks.close()

    yield make
    for backend in made:
        backend.call(end(backend))
        backend.stop()


def changed(path):
    return {one for run in runs(path) for one in run["changed"]}


def test_a_hook_receives_the_paths_that_are_on_every_frontend(make, tmp_path):
    backend = make(hook("delivered", tmp_path / "runs"))
    (backend.source / "d").mkdir()
    for number in range(20):
        (backend.source / "d" / str(number)).write_text("x")
    wanted = {f"d/{number}" for number in range(20)}
    wait_for(lambda: wanted <= changed(tmp_path / "runs"), backend.status)
    (backend.source / "d" / "0").unlink()
    wait_for(lambda: any("d/0" in r["deleted"] for r in runs(tmp_path / "runs")), backend.status)
    assert not (backend.site("two") / "d" / "0").exists()
    assert {run["tree"] for run in runs(tmp_path / "runs")} == {str(backend.source)}
    rows = backend.status()["hooks"]
    assert [(row["event"], row["failures"], row["last_error"]) for row in rows] == [
        ("delivered", 0, "")
    ]


def test_a_slow_hook_runs_once_at_a_time_and_gets_all_waiting_paths_together(make, tmp_path):
    backend = make(hook("delivered", tmp_path / "runs", 0.5))
    began = time.monotonic()
    for number in range(60):
        (backend.source / str(number)).write_text("x")
        time.sleep(0.02)
    wanted = {str(number) for number in range(60)}
    wait_for(lambda: wanted <= changed(tmp_path / "runs"), backend.status)
    wait_for(lambda: backend.status()["hooks"][0]["running_seconds"] is None, backend.status)
    recorded = runs(tmp_path / "runs")
    ends = [float(line) for line in Path(f"{tmp_path}/runs.ends").read_text().splitlines()]
    assert len(recorded) <= 2 + (time.monotonic() - began) / 0.5
    assert all(run["began"] > end for run, end in zip(recorded[1:], ends, strict=False))


@pytest.mark.parametrize(
    "command", [["/bin/sleep", "600"], ["/bin/false"], [sys.executable, "-c", "1/0"]]
)
def test_a_hook_that_hangs_or_fails_delays_nothing_and_shows(make, tmp_path, command):
    backend = make({"event": "delivered", "command": command, "batch": 0.0, "timeout": 1.0})
    (backend.source / "first").write_text("x")
    wait_for(lambda: backend.status()["hooks"][0]["runs"], backend.status)
    for number in range(50):
        (backend.source / f"f{number}").write_text("x")
    began = time.monotonic()
    backend.wait_until_equal()
    took = time.monotonic() - began
    wait_for(lambda: backend.status()["hooks"][0]["failures"], backend.status)
    assert backend.status()["hooks"][0]["last_error"]
    assert backend.status()["ok"]
    assert took < 20


def test_hooks_receive_the_state_changes_of_a_frontend(make, tmp_path):
    names = ("frontend-live", "frontend-lost")
    backend = make(*(hook(name, tmp_path / name) for name in names))
    wait_for(
        lambda: {r["frontend"] for r in runs(tmp_path / "frontend-live")} == {"one", "two"},
        backend.status,
    )
    backend.connector.refused.add("two")
    backend.connector.kill("two")
    wait_for(lambda: runs(tmp_path / "frontend-lost"), backend.status)
    (lost,) = runs(tmp_path / "frontend-lost")
    assert (lost["event"], lost["frontend"]) == ("frontend-lost", "two")
    assert lost["reason"]


@pytest.fixture
def reload(tmp_path):
    def reload(backend, *hooks):
        raw = {
            "tree": [{"source": str(backend.source), "target": "/site"}],
            "discovery": {"frontends": backend.hosts},
            "state": {"directory": str(tmp_path / "state")},
            "hook": list(hooks),
        }
        backend.call(backend.app.reload(parse(raw, base=tmp_path)))

    return reload


def test_a_reload_replaces_hooks_and_refuses_those_that_do_not_exist(make, reload, tmp_path):
    backend = make(hook("delivered", tmp_path / "runs"))
    with pytest.raises(ConfigError, match="does not exist"):
        reload(backend, {"event": "delivered", "command": ["/does/not/exist"]})
    (backend.source / "f").write_text("x")
    wait_for(lambda: "f" in changed(tmp_path / "runs"), backend.status)
    reload(backend, hook("delivered", tmp_path / "other"))
    (backend.source / "g").write_text("x")
    wait_for(lambda: "g" in changed(tmp_path / "other"), backend.status)
    assert "g" not in changed(tmp_path / "runs")


def test_a_reload_loses_no_path_of_a_hook_with_the_same_event_and_command(make, reload, tmp_path):
    script = "while [ ! -e $0.go ]; do sleep 0.05; done; cat >> $0"
    stays = {"event": "delivered", "command": ["/bin/sh", "-c", script, str(tmp_path / "runs")]}
    backend = make(stays | {"batch": 0.0})

    def row():
        return backend.status()["hooks"][0]

    (backend.source / "first").write_text("x")
    wait_for(lambda: row()["running_seconds"] is not None, backend.status)
    (backend.source / "second").write_text("x")
    wait_for(lambda: row()["waiting"], backend.status)
    reload(backend, stays | {"batch": 0.1, "timeout": 60.0}, hook("delivered", tmp_path / "other"))
    assert row()["waiting"]
    (backend.source / "third").write_text("x")
    wait_for(lambda: "third" in changed(tmp_path / "other"), backend.status)
    (tmp_path / "runs.go").touch()
    wanted = {"first", "second", "third"}
    wait_for(lambda: wanted <= changed(tmp_path / "runs"), backend.status)
    assert row()["failures"] == 0


@pytest.fixture
def command(tmp_path):
    """Return a function that starts a daemon without frontends, with one hook."""
    started = []

    def start(hook):
        config = tmp_path / "replicator.toml"
        program = json.dumps(hook)
        config.write_text(
            f'[[tree]]\nsource = "gone"\n[state]\ndirectory = "state"\n'
            f'[[hook]]\nevent = "tree-halted"\nbatch = 0.0\ntimeout = 600.0\ncommand = {program}\n'
        )
        daemon = subprocess.Popen(
            [sys.executable, "-m", "replicator", "serve", "--config", config],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.kill()
        daemon.communicate()


def test_a_hook_that_does_not_exist_is_refused_at_the_start(command, tmp_path):
    daemon = command(["/does/not/exist"])
    assert daemon.wait(60) == 2
    assert "hook[0].command: /does/not/exist does not exist" in daemon.stderr.read()
    (tmp_path / "text").write_text("no program")
    daemon = command([str(tmp_path / "text")])
    assert daemon.wait(60) == 2
    assert "must not be executed" in daemon.stderr.read()


def test_a_daemon_that_ends_ends_a_hook_that_hangs_and_its_children(command, tmp_path):
    script = "echo $$ > pid.new; mv pid.new pid; sleep 600 & sleep 600"
    daemon = command(["/bin/sh", "-c", f"cd {tmp_path}; {script}"])
    wait_for((tmp_path / "pid").exists, "the hook")
    group = int((tmp_path / "pid").read_text())
    began = time.monotonic()
    daemon.terminate()
    daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    assert time.monotonic() - began < 15

    def ended():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return all(_is_zombie(pid) for pid in _members(group))

    wait_for(ended, lambda: list(_members(group)))


def _members(group):
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            yield int(status.parent.name)


def _is_zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
