"""`ok` is false while a path is refused or dirty: `status`, `verify` and `check` show it, and their exit status."""

import contextlib
import json
import os
import shlex
import tempfile
from pathlib import Path

import pytest

from tests.support.daemon import pinned
from tests.support.sshd import Sshd, needs_namespaces
from tests.support.unprivileged import NOBODY
from tests.support.waiting import FOREVER, wait_for

WWW = 33


def as_deploy(root, groups="--clear-groups"):
    """The forced command of an unprivileged account that is called deploy in the README."""
    drop = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), *shlex.split(groups)]
    return f"{shlex.join(drop)} {pinned(root)}"


@pytest.fixture
def two(fleet, request):
    """A frontend whose agent is root, and one whose agent is an unprivileged account."""
    needs_namespaces()
    groups = getattr(request, "param", "--clear-groups")
    with tempfile.TemporaryDirectory() as world, contextlib.ExitStack() as servers:
        os.chown(world, NOBODY, NOBODY)  # pytest's own directory is closed to everybody else
        directory = Path(world) / "root"
        root = Sshd(
            directory, keys=fleet.keys, address="127.0.0.2", binds={fleet.root: directory / "www"}
        )
        directory = Path(world) / "deploy"
        command = as_deploy(world, groups)
        deploy = Sshd(directory, keys=fleet.keys, address="127.0.0.3", forced_command=command)
        deploy.world = Path(world)
        yield servers.enter_context(root), servers.enter_context(deploy)


def copy(backend, server):
    return server.world / str(backend.target).lstrip("/")


def answered(backend, *command, status):
    """Run a command that prints one JSON object; check its exit status."""
    done = backend.run(*command, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_an_owner_that_an_unprivileged_agent_cannot_set_is_reported_everywhere(make, two):
    root, deploy = two
    backend = make([root, deploy])
    backend.tree = {"owner": f"{WWW}:{WWW}"}
    backend.configure()
    backend.fill(files=10)
    backend.start()
    wait_for(lambda: backend.row(deploy)["state"] == "degraded", backend.status, FOREVER)
    wait_for(lambda: backend.quiet([root]), backend.status, FOREVER)

    status = answered(backend, "status", status=3)
    assert status["ok"] is False
    rows = {row["host"]: row for row in status["frontends"]}
    assert rows[root.address]["state"] == "live"
    assert rows[deploy.address]["dirty"] >= 12
    assert "cannot be given to 33:33: Operation not permitted" in rows[deploy.address]["last_error"]
    answered(backend, "status", "--max-dirty", "100", status=0)

    report = answered(backend, "verify", status=3)
    reports = {one["host"]: one for one in report["frontends"]}
    assert (report["ok"], reports[root.address]["differing"]) == (False, 0)
    assert reports[deploy.address]["differing"] == reports[deploy.address]["pending"] >= 12
    assert answered(backend, "verify", deploy.frontend, status=1)["ok"] is False

    checked = answered(backend, "check", status=3)
    found = [one for one in checked["findings"] if one["level"] == "fail"]
    assert all(deploy.address in one["subject"] for one in found), found
    assert any(f"cannot be given to {WWW}:{WWW}" in one["what"] for one in found)
    assert any("sudo -n" in one["fix"] and "GROUP" in one["fix"] for one in found)


@pytest.mark.parametrize("two", [f"--groups {WWW}"], indirect=True)
def test_an_unprivileged_agent_gives_files_to_its_own_user_and_a_group_of_it(make, two):
    backend = make(two)
    backend.tree = {"owner": f"{NOBODY}:{WWW}"}
    backend.configure()
    backend.fill(files=10)
    backend.start()
    wait_for(backend.quiet, backend.status, FOREVER)

    status = answered(backend, "status", status=0)
    assert status["ok"] is True
    assert status["version"]
    assert status["uptime_seconds"] >= 0
    assert answered(backend, "verify", status=0)["ok"] is True
    assert answered(backend, "check", status=0)["ok"] is True
    arrived = [path.lstat() for path in copy(backend, two[1]).rglob("*")]
    assert {(one.st_uid, one.st_gid) for one in arrived} == {(NOBODY, WWW)}
    assert len(arrived) > 12
    assert not list(copy(backend, two[1]).rglob(".replicator-*"))


def test_check_reports_an_unwritable_target_before_a_daemon_runs(make, two):
    root, deploy = two
    backend = make([root, deploy])
    backend.fill(files=2)
    (target := copy(backend, deploy)).mkdir(parents=True)
    target.chmod(0o755)

    checked = answered(backend, "check", status=3)
    (found,) = [one for one in checked["findings"] if one["level"] == "fail"]
    assert f"frontend {deploy.frontend}" == found["subject"]
    assert "cannot be written: denied: Permission denied" in found["what"]


def test_a_frontend_that_never_connected_is_unknown(make, two):
    root, _ = two
    backend = make([root])
    backend.configure("127.0.0.4:1")
    backend.fill(files=2)
    backend.start()
    wait_for(lambda: backend.quiet([root]), backend.status, FOREVER)
    status = answered(backend, "status", status=3)
    (away,) = [row for row in status["frontends"] if row["host"] == "127.0.0.4"]
    assert (away["dirty"], away["lag_seconds"]) == (None, None)
    assert backend.run("status").returncode == 3
    answered(backend, "status", "--max-lag", "1000", "--max-dirty", "1000", status=3)

    # What changes while a compared frontend is disconnected is dirty for it.
    root.stop()
    (backend.source / "missed").write_text("missed")
    wait_for(lambda: backend.row(root)["dirty"] == 1, backend.status, FOREVER)
    wait_for(lambda: backend.row(root)["lag_seconds"] > 0.5, backend.status, FOREVER)
    root.start()
