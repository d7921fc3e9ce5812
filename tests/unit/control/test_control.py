"""The control socket: private, one question, any number of answers."""

import asyncio
import getpass
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import structlog
from structlog.testing import capture_logs

from replicator.control import client, server, socket_path
from replicator.errors import ControlError
from replicator.telemetry.limit import LINES, Limiter
from tests.support.waiting import FOREVER, turns


@pytest.fixture
async def daemon(tmp_path):
    path = socket_path(str(tmp_path))
    ended = []

    async def handle(request):
        try:
            yield {"got": request}
            if request.get("command") == "fail":
                raise ControlError("no such frontend")
            if request.get("command") == "starve":
                raise RuntimeError("can't start new thread")
            while request.get("command") == "forever":
                yield {"more": True}
                await turns()
        finally:
            ended.append(request)

    async with server.serve(path, handle):
        yield path, ended
    assert not path.exists()


async def ask(path, request):
    return await asyncio.to_thread(lambda: list(client.ask(path, request)))


async def test_only_its_user_can_open_it(daemon):
    assert stat.S_IMODE(daemon[0].stat().st_mode) == 0o600


async def test_a_question_is_answered(daemon):
    assert await ask(daemon[0], {"command": "status"}) == [{"got": {"command": "status"}}]


async def test_an_error_of_the_daemons_is_raised_here(daemon):
    with pytest.raises(ControlError, match="no such frontend"):
        await ask(daemon[0], {"command": "fail"})


async def test_a_daemon_that_gets_no_thread_answers_with_an_error(daemon):
    with pytest.raises(ControlError, match="no thread can be started: raise the limit"):
        await ask(daemon[0], {"command": "starve"})


@pytest.mark.parametrize("garbage", [b"\n", b"[]\n", b"not json\n", b"\xff\xfe\n", b"[" * 9000])
async def test_garbage_is_answered_with_an_error(daemon, garbage):
    reader, writer = await asyncio.open_unix_connection(daemon[0])
    writer.write(garbage)
    writer.write_eof()

    assert b"expected one JSON object" in await reader.readline()

    writer.close()
    await writer.wait_closed()


async def test_closing_the_connection_cancels_the_request(daemon):
    path, ended = daemon
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "forever"}\n')
    await reader.readline()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(FOREVER):
        while not ended:
            await turns()


def test_a_missing_daemon_is_distinguished_from_a_silent_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(client.ask(tmp_path / "control.sock", {}))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen()
        with pytest.raises(ControlError, match="not answered"):
            list(client.ask(tmp_path / "control.sock", {}, timeout=0.1))


def test_a_request_that_is_pending_when_the_daemon_ends_is_no_error(tmp_path, caplog):
    async def main(client):
        asked = asyncio.Event()

        async def handle(_):
            asked.set()
            await asyncio.Event().wait()
            yield {}

        async with server.serve(path := socket_path(str(tmp_path)), handle):
            await asyncio.to_thread(client.connect, str(path))
            client.send(b"{}\n")
            await asked.wait()

    with socket.socket(socket.AF_UNIX) as client:
        asyncio.run(main(client))
        assert client.recv(100) == b""
    assert caplog.records == []


@pytest.mark.parametrize(
    "garbage", [b"[]\n", b"5\n", b"[" * 9000 + b"\n", b'{"half": ', b"", b'{"host": "one"}\n']
)
def test_an_answer_that_is_none_or_has_no_end_is_an_error(tmp_path, garbage):
    path = tmp_path / "control.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as daemon:
        asked = client.ask(path, {})
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(lambda: list(asked))
            connection, _ = daemon.accept()
            with connection:
                connection.recv(100)
                connection.sendall(garbage)
            with pytest.raises(ControlError):
                answer.result()


def test_a_daemon_that_goes_away_before_it_was_asked_is_an_error(tmp_path, monkeypatch):
    with (
        closing_server(tmp_path, monkeypatch, b"") as path,
        pytest.raises(ControlError, match="ended before its answer was complete"),
    ):
        list(client.ask(path, {}))


def test_a_connection_that_is_refused_before_the_request_was_sent_says_why(tmp_path, monkeypatch):
    with (
        closing_server(tmp_path, monkeypatch, b'{"error": "too many"}\n') as path,
        pytest.raises(ControlError, match="too many"),
    ):
        list(client.ask(path, {}))


@contextmanager
def closing_server(directory, monkeypatch, answer):
    """A server that answers and closes each connection before the client sends its request."""
    send, path = socket.socket.sendall, directory / "control.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as server:

        def late(connection, data):
            accepted, _ = server.accept()
            with accepted:
                send(accepted, answer)
            send(connection, data)

        monkeypatch.setattr(socket.socket, "sendall", late)
        yield path


@pytest.fixture
def member(monkeypatch):
    """Treat this user as one with read access only."""
    monkeypatch.setattr(server, "may_command", lambda _: False)


@pytest.mark.parametrize("name", ["command", "host", "sudo_user"])
async def test_what_the_log_says_of_a_request_cannot_control_a_terminal(daemon, name):
    with capture_logs() as lines:
        await ask(daemon[0], {"command": "resume", name: "\x1b[2J\n\ud800"})
    assert lines[0][name] == r"\x1b[2J\n\xed\xa0\x80"


async def test_refused_requests_do_not_hide_the_operators_from_the_log(daemon, monkeypatch):
    path = daemon[0]
    with capture_logs() as lines:
        monkeypatch.setattr(server, "may_command", lambda _: False)
        for number in range(30):
            with pytest.raises(ControlError, match="only root"):
                await ask(path, {"command": "resume", "host": f"web{number}"})
        monkeypatch.setattr(server, "may_command", lambda _: True)
        for _ in range(30):
            await ask(path, {"command": "resume"})
    limiter, logged = Limiter(lambda: 0.0), []
    for line in lines:
        with suppress(structlog.DropEvent):
            logged.append(limiter(None, "info", line)["event"])
    assert logged == ["request refused"] * LINES + ["requested"] * 30


async def test_connections_of_users_who_may_only_read_are_limited(daemon, member):
    path = daemon[0]
    idle = [await asyncio.open_unix_connection(path) for _ in range(server.MEMBERS)]
    with pytest.raises(ControlError, match="too many connections"):
        await ask(path, {"command": "status"})
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()

    async def answered():
        with suppress(ControlError):
            return await ask(path, {"command": "status"})

    async with asyncio.timeout(20):
        while not await answered():
            await turns()


async def test_connections_of_the_daemons_user_are_not_limited(daemon):
    idle = [await asyncio.open_unix_connection(daemon[0]) for _ in range(server.MEMBERS + 1)]
    assert await ask(daemon[0], {"command": "status"})
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()


async def test_a_connection_without_a_request_is_closed(daemon, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_WITHIN", 0.05)
    reader, writer = await asyncio.open_unix_connection(daemon[0])
    writer.write(b'{"command": ')
    async with asyncio.timeout(20):
        assert b"no request within" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_directory_in_the_place_of_the_socket_is_one_sentence(tmp_path):
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(ControlError, match="a directory is in its place: remove it"):
        async with server.serve(tmp_path / "control.sock", None):
            pass


async def test_a_request_that_changes_something_is_logged_with_its_user(daemon):
    with capture_logs() as lines:
        await ask(daemon[0], {"command": "status"})
        await ask(daemon[0], {"command": "resume", "sudo_user": "alice"})
    (line,) = [line for line in lines if line["event"] == "requested"]
    assert line["command"] == "resume"
    assert (line["user"], line["pid"]) == (getpass.getuser(), os.getpid())
    assert line["sudo_user"] == "alice"
