"""Fuzz the control socket: requests to the daemon, and answers to the command line."""

import asyncio
import io
import json
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from replicator.control import client
from replicator.control.server import MAX_REQUEST, _answer
from replicator.engine.control.health import Tolerance
from replicator.engine.control.requests import Requests
from replicator.errors import ControlError
from replicator.ports import Address
from tests.fuzz import mutate
from tests.fuzz.target import target

TREE = SimpleNamespace(
    root=b"/srv", source=SimpleNamespace(excluded=lambda path, _kind: path == b"cache")
)


class Stub:
    """The methods that `Requests.handle` calls: they check their arguments and do nothing."""

    _service = SimpleNamespace(
        pipelines={1: SimpleNamespace(tree=TREE)}, fleet=SimpleNamespace(find=lambda _: None)
    )
    _context = None

    async def status(self, tolerance):
        assert isinstance(tolerance, Tolerance)
        return {"frontends": []}

    async def wait(self, request):
        Requests.wait(self, request)  # checks the request; what it returns is not started
        yield {"finished": True}

    async def resume(self):
        return [{"what": "x"}]

    async def bootstrap(self, address):
        _check(address)
        yield {"host": address.host}

    async def verify(self, address, *, repair, progress):
        assert repair in (True, False)
        if address is not None:
            _check(address)
        yield {"host": address and address.host}


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
        await _answer(reader, writer, partial(Requests.handle, Stub()))
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
    mutate=mutate.json_text,
    limit=MAX_REQUEST + 100,
)
def requests(data):
    """Raise nothing. Assert that every request gets one answer, a JSON object on one line, and no internal error."""
    answer = json.loads(asyncio.run(_ask(data)))
    assert isinstance(answer, dict)
    assert not str(answer.get("error")).startswith("internal error"), answer


class Connection(io.BytesIO):
    """A socket from which given bytes can be read."""

    settimeout = connect = sendall = lambda *_: None

    def makefile(self, _mode):
        return self


@target(
    _request(error="no such frontend"),
    _request(host="a", state="live") + _request(finished=True),
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
