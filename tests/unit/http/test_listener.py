"""Where the server listens: on an address or a Unix socket, after a reload elsewhere, and again when an address is free."""

import asyncio
import os
import socket
import stat

import pytest

pytest.importorskip("aiohttp")

from replicator.config import HttpSettings
from replicator.http import listener
from replicator.http.listener import Listener
from tests.support.waiting import eventually
from tests.support.web_client import ask, free_port, status


async def answer():
    return status()


@pytest.fixture
async def start():
    """Return a function that runs a listener, and returns it."""
    tasks = []

    def start(listen):
        made = Listener(HttpSettings(listen=listen), answer)
        tasks.append(asyncio.create_task(made.run()))
        return made

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def answers(listen):
    try:
        return (await ask(listen, "/livez")).status == 200
    except OSError:
        return False


async def becomes(listen, *, answering):
    async with asyncio.timeout(10):
        while await answers(listen) is not answering:
            await asyncio.sleep(0.01)


async def test_it_listens_on_an_address(start):
    listen = f"127.0.0.1:{free_port()}"
    made = start(listen)
    await becomes(listen, answering=True)
    assert made.describe() == {"listen": listen, "error": ""}


async def test_it_listens_on_a_socket_for_the_daemons_user_and_group_and_removes_it(
    start, tmp_path
):
    path = tmp_path / "http.sock"
    made = start(str(path))
    await becomes(str(path), answering=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    made.use(HttpSettings())
    await eventually(lambda: not path.exists(), lambda: "the socket exists")


async def test_a_socket_that_a_killed_daemon_has_left_is_replaced(start, tmp_path):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    start(str(path))
    await becomes(str(path), answering=True)


@pytest.mark.parametrize("kind", ["socket", "file"])
async def test_a_path_that_something_else_uses_is_left_alone(start, tmp_path, kind):
    path = tmp_path / "taken"
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "socket":
            other.bind(str(path))
            other.listen()
        else:
            path.write_text("content")
        before = path.stat()
        made = start(str(path))
        await eventually(lambda: made.error, lambda: "no error")
        assert os.path.samestat(path.stat(), before)
        assert made.error.startswith(f"HTTP does not listen on {path}: ")


async def test_a_port_in_use_is_reported_once_and_taken_when_it_is_free(start, monkeypatch, capsys):
    attempts, bound = [], listener.bound
    monkeypatch.setattr(listener, "RETRY", 0.02)
    monkeypatch.setattr(
        listener, "bound", lambda listen: (attempts.append(listen), bound(listen))[1]
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        made = start(listen)
        await eventually(lambda: made.error, lambda: "no error")
        assert made.error == f"HTTP does not listen on {listen}: another program uses this address."
        await eventually(lambda: len(attempts) > 3, lambda: "it is not tried again")
    await becomes(listen, answering=True)
    assert made.error == ""
    assert capsys.readouterr().out.count("another program uses this address") == 1


async def test_a_reload_moves_it_and_turns_it_off_and_on(start):
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    made = start(first)
    await becomes(first, answering=True)
    made.use(HttpSettings(listen=second))
    await becomes(second, answering=True)
    await becomes(first, answering=False)
    made.use(HttpSettings())
    await becomes(second, answering=False)
    made.use(HttpSettings(listen=first))
    await becomes(first, answering=True)
