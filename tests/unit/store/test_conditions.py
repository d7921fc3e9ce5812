"""A store that knows no conditions is written nevertheless; the owner is then what keeps two backends apart."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from replicator.errors import StoreError
from replicator.store.s3 import S3Store
from tests.support import weed

ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"


class OldStore(BaseHTTPRequestHandler):
    """Keeps objects by path; refuses requests with conditions with `code`."""

    objects: dict
    code = "NotImplemented"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["If-Match"] or self.headers["If-None-Match"]:
            self._answer(501, ERROR.format(self.code).encode())
            return
        self.objects[self.path] = body
        self._answer(200, b"", ETag='"new"')

    def do_GET(self):
        body = self.objects.get(self.path)
        if body is None:
            self._answer(404, ERROR.format("NoSuchKey").encode())
        else:
            self._answer(200, body, ETag='"found"')

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    handler = type("Handler", (OldStore,), {"objects": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(server):
    one = S3Store("bucket", "p/", endpoint=f"http://127.0.0.1:{server.server_port}")
    yield one
    one.close()


def test_a_new_object_is_written_once(store):
    assert store.swap("owner", b"one", None) == '"new"'
    assert store.swap("owner", b"two", None) is None
    assert store.get("owner", 10) == b"one"


def test_an_object_is_replaced(store):
    store.swap("pointer", b"one", None)
    assert store.swap("pointer", b"two", '"old"')
    assert store.get("pointer", 10) == b"two"


def test_another_refusal_is_an_error(store, server):
    server.RequestHandlerClass.code = "InternalError"
    with pytest.raises(StoreError, match="InternalError"):
        store.swap("pointer", b"one", '"old"')
    assert store.get("pointer", 10) is None
