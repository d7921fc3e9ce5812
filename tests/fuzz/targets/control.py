"""Fuzz the control socket: requests to the daemon, and answers to the command line."""

import asyncio
import io
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from replicator.control import END, client
from replicator.control.server import MAX_REQUEST, _answer
from replicator.engine.control.health import Tolerance
from replicator.engine.control.names import Name, find
from replicator.engine.control.requests import Requests
from replicator.engine.paused import Paused
from replicator.errors import ControlError
from replicator.ports import Address
from tests.fuzz import mutate
from tests.fuzz.target import target

TREE = SimpleNamespace(
    root=b"/srv", source=SimpleNamespace(excluded=lambda path, _kind: path == b"cache")
)


class Fleet(list):
    """A fleet without frontends."""

    def find(self, _address):
        return None

    def apply_pauses(self):
        pass


class Stub(Requests):
    """Reads requests like the daemon; without frontends, and the methods that would do the work check their arguments."""

    def __init__(self):
        service = SimpleNamespace(pipelines={1: SimpleNamespace(tree=TREE)}, fleet=Fleet())
        super().__init__(service, SimpleNamespace(paused=Paused(), events=None))

    async def status(self, tolerance):
        assert isinstance(tolerance, Tolerance)
        return {"frontends": []}

    def wait(self, request):
        super().wait(request)  # checks the request; what it returns is not started
        return self._finished()

    async def _finished(self):
        yield {"finished": True}

    async def _resume(self, request):
        if "name" in request:
            find(Name.of(request), self._service)
        yield {"what": "x"}

    async def bootstrap(self, address):
        _check(address)
        yield {"host": address.host}

    async def verify(self, address, *, repair, progress):
        assert repair in (True, False)
        assert progress in (True, False)
        if address is not None:
            _check(address)
        yield {"host": address and address.host}

    def close(self):
        self._status_thread.shutdown()


def _check(address):
    assert isinstance(address, Address)
    assert type(address.host) is type(address.user) is str
    assert type(address.port) is int
    assert 0 <= address.port < 65536


class Writer:
    """A stream writer that keeps what is written; its peer is this process."""

    def __init__(self, peer):
        self.written = b""
        self._peer = peer

    def get_extra_info(self, name):
        return {"socket": self._peer}[name]

    def write(self, data):
        self.written += data

    async def drain(self):
        pass


async def _ask(data):
    near, far = socket.socketpair()
    with near, far:
        reader, writer = asyncio.StreamReader(limit=MAX_REQUEST), Writer(near)
        reader.feed_data(data)
        reader.feed_eof()
        stub = Stub()
        await _answer(reader, writer, stub.handle)
        stub.close()
    return writer.written


def _request(**fields):
    return json.dumps(fields).encode() + b"\n"


@target(
    _request(command="status"),
    _request(command="status", max_lag=60, max_dirty=10),
    _request(command="wait", areas=[["/srv", "a/b"], ["/srv", ""]], timeout=60.0),
    _request(command="wait", areas=[["/srv", "\ud800"]], timeout=0, host="10.0.0.1"),
    _request(command="bootstrap", host="10.0.0.1", user="deploy", port=22),
    _request(command="verify", host="10.0.0.1", repair=True),
    _request(command="verify"),
    _request(command="resume"),
    _request(command="resume", name="srv", path="/srv"),
    _request(command="pause", name="/srv", path="/srv", seconds=60.0, by="root"),
    _request(command="pause", name="10.0.0.1", host="10.0.0.1", frontend=True),
    _request(command="unpause", name="srv", host="srv", port=22),
    mutate=mutate.json_text,
    limit=MAX_REQUEST + 100,
)
def requests(data):
    """Raise nothing. Assert that every request gets one answer, a JSON object on one line, then the end or an error, no internal one."""
    answer, *rest = map(json.loads, asyncio.run(_ask(data)).splitlines())
    assert isinstance(answer, dict)
    assert rest == ([] if "error" in answer else [END])
    assert not str(answer.get("error")).startswith("internal error"), answer


class Connection(io.BytesIO):
    """A socket from which given bytes can be read."""

    settimeout = connect = sendall = lambda *_: None

    def makefile(self, _mode):
        return self


@target(
    _request(error="no such frontend"),
    _request(host="a", state="live") + _request(finished=True) + _request(**END),
    mutate=mutate.json_text,
)
def answers(data):
    """Raise nothing; catches ControlError. Assert that every answer is a JSON object."""
    with mock.patch.object(client.socket, "socket", return_value=Connection(data)):
        try:
            for answer in client.ask(Path("socket"), {}):
                assert isinstance(answer, dict)
        except ControlError as error:
            str(error)
