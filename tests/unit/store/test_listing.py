"""A list of objects is complete, or an error: what it lacks would be removed, or uploaded again."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from replicator.errors import StoreError
from replicator.store.s3 import S3Store
from tests.support import aws

ROW = (
    "<Contents><Key>x/packs/1</Key><Size>1</Size><ETag>e</ETag>"
    "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
)


@pytest.fixture
def listed(monkeypatch):
    """Return a function: what the store gives for the answer of a server to a request for a list."""
    aws.set_credentials(monkeypatch)
    answers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.pop(0).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    store = S3Store(
        "b", "x/", region="us-east-1", endpoint=f"http://127.0.0.1:{server.server_address[1]}"
    )

    def ask(*given):
        answers.extend(given)
        return [stored.name for stored in store.list("packs/")]

    yield ask
    store.close()
    server.shutdown()
    thread.join()
    server.server_close()


def page(rows, more):
    return f"<ListBucketResult>{more}{rows}</ListBucketResult>"


def test_all_pages_are_listed(listed):
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    last = page(ROW.replace("packs/1", "packs/2"), "<IsTruncated>false</IsTruncated>")
    assert listed(page(ROW, more), last) == ["packs/1", "packs/2"]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<html>captive portal</html>",
        page(ROW, "<IsTruncated>true</IsTruncated>"),
        page(ROW, "<IsTruncated>false</IsTruncated>").removesuffix("</ListBucketResult>"),
        page(ROW, "<IsTruncated>false</IsTruncated><KeyCount>2</KeyCount>"),
    ],
    ids=["empty", "html", "no next page", "cut", "fewer than counted"],
)
def test_a_list_that_is_none_or_cut_is_an_error(listed, answer):
    with pytest.raises(StoreError):
        listed(answer)
