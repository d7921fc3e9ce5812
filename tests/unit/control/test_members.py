"""Members of control.group may read the status, and nothing else; others reach neither the socket nor a file beside it."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from replicator.control import members, server, socket_path
from replicator.errors import ControlError
from tests.support.tools import missing
from tests.support.unprivileged import NOBODY

GROUP = 54_321
"""A group that no user of this machine is a member of."""

PYTHON = shutil.which("python3", path="/usr/bin:/bin") or os.path.realpath(sys.executable)
"""An interpreter that every user may start: the one of the tests may lie in a home directory."""

CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(20)
    client.connect(sys.argv[1])
    client.sendall(sys.argv[2].encode() + b"\\n")
    print(client.makefile().readline())
"""


@pytest.fixture
def directory():
    """A private state directory below one that all users can pass."""
    if os.geteuid():
        missing("the right to run a process as another user")
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o711)
        made = Path(above) / "state"
        made.mkdir(mode=0o700)
        (made / "catalog.sqlite").touch(0o600)
        yield made


@pytest.fixture
async def daemon(directory):
    asked = []

    async def handle(request):
        asked.append(request["command"])
        yield {"got": request["command"]}

    path = socket_path(str(directory))
    async with server.serve(path, handle, GROUP):
        yield path, asked


def python(code, *arguments, groups):
    """Run code as NOBODY, a member of some groups."""
    command = [PYTHON, "-I", "-S", "-c", code, *arguments]
    return subprocess.run(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=groups,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


async def ask(path, command, groups=(GROUP,)):
    request = json.dumps({"command": command, "host": "web1"})
    return await asyncio.to_thread(python, CLIENT, str(path), request, groups=groups)


@pytest.mark.parametrize("command", ["status", "wait"])
async def test_a_member_may_read(daemon, command):
    path, asked = daemon
    done = await ask(path, command)
    assert json.loads(done.stdout) == {"got": command}
    assert asked == [command]


@pytest.mark.parametrize("command", ["resume", "bootstrap", "verify", "Status", "", ["status"]])
async def test_a_member_may_do_nothing_else_and_the_attempt_is_logged(daemon, command):
    path, asked = daemon
    with capture_logs() as logs:
        done = await ask(path, command)
    assert "only root and root may do this" in json.loads(done.stdout)["error"]
    assert asked == []
    assert [line["event"] for line in logs] == ["request refused"]


async def test_a_user_outside_the_group_cannot_connect(daemon):
    path, asked = daemon
    done = await ask(path, "status", groups=())
    assert "PermissionError" in done.stderr
    assert asked == []


async def test_a_member_can_neither_list_the_state_directory_nor_open_its_files(daemon):
    directory = daemon[0].parent
    for code in (
        "import os, sys; os.listdir(sys.argv[1])",
        "import sys; open(sys.argv[1] + '/catalog.sqlite')",
    ):
        assert "PermissionError" in python(code, str(directory), groups=(GROUP,)).stderr
    assert stat.S_IMODE(directory.stat().st_mode) == 0o710


async def test_without_a_group_the_directory_is_left_as_it_is(directory):
    async with server.serve(socket_path(str(directory)), None):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path(str(directory)).stat().st_mode) == 0o600


async def test_a_socket_that_cannot_be_given_to_the_group_is_an_error_with_a_remedy(
    directory, monkeypatch
):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(members.os, "chown", refuse)
    with pytest.raises(ControlError, match=r"control\.group: .*SupplementaryGroups="):
        async with server.serve(socket_path(str(directory)), None, GROUP):
            pass
    assert not socket_path(str(directory)).exists()
