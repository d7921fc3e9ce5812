"""The id of this instance: version 2 of the metadata service, and errors with a remedy."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from replicator.discovery.aws import metadata
from replicator.discovery.aws.metadata import own_instance
from replicator.errors import DiscoveryError


@pytest.fixture
def service(monkeypatch):
    """A metadata service that gives nothing without a token of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            asked = self.path == "/latest/api/token"
            self._respond(200 if asked and self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else 400, "T")  # fmt: skip

        def do_GET(self):
            known = self.headers["X-aws-ec2-metadata-token"] == "T"
            self._respond(200 if known else 401, "i-0backend" if known else "")

        def _respond(self, status, text, length=None):
            self.send_response(status)
            self.send_header("Content-Length", str(len(text) if length is None else length))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.setenv(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/"
    )
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("service")
def test_the_instance_id_is_read_with_a_token():
    assert own_instance() == "i-0backend"


@pytest.mark.parametrize(("text", "length"), [("", 0), ("i-0b", 19)])
def test_an_answer_that_is_empty_or_cut_is_no_id(service, text, length):
    def cut(handler):
        handler._respond(200, text, length)
        handler.close_connection = True

    service.do_GET = cut
    with pytest.raises(DiscoveryError, match="is incomplete"):
        own_instance()


def test_a_service_that_refuses_is_an_error(service):
    service.do_PUT = lambda self: self._respond(403, "")
    with pytest.raises(DiscoveryError, match="answers 403 to /latest/api/token"):
        own_instance()


def test_no_service_at_all_is_an_error(monkeypatch):
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        with pytest.raises(DiscoveryError, match="no instance metadata service answers"):
            own_instance()


def test_an_answer_that_does_not_arrive_names_the_hop_limit(monkeypatch):
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.setattr(metadata, "TIMEOUT", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        with pytest.raises(DiscoveryError, match="HttpPutResponseHopLimit=2"):
            own_instance()
