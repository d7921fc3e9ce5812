"""Reading objects from a store that misbehaves: each fault costs time, never correctness, and ends."""

import os
import socket
import threading
from urllib.parse import urlsplit

import pytest

from replicator.agent.restore import fetch, http_connection
from replicator.agent.restore.fetch import Connection, FetchFailed, Part
from tests.support import http_store
from tests.support.http_store import HttpStore

CONTENT = os.urandom(3 * fetch.BUFFER + 12_345)
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 0.3)
    monkeypatch.setattr(fetch, "PAUSE", 0.001)


@pytest.fixture
def patient(impatient, monkeypatch):
    """For tests that count requests: a busy machine may be silent for longer than `impatient` allows."""
    monkeypatch.setattr(http_connection, "GRACE", 60)


@pytest.fixture
def store():
    with HttpStore() as store:
        store.objects["pack"] = CONTENT
        yield store


@pytest.fixture
def connection():
    """Return a connection to a store that has answered before."""
    connection = new_connection()
    connection.answered.set()
    yield connection
    connection.close()


@pytest.fixture
def first():
    """Return a connection to a store that has never answered."""
    connection = new_connection()
    yield connection
    connection.close()


def new_connection():
    return Connection(threading.Event(), threading.Event())


def read(connection, store, start=0, end=SIZE, size=SIZE, url=None):
    """Return the bytes of a part, taken in pieces of uneven sizes."""
    part = Part(connection, url or (lambda _: store.url("pack")), start, end, size)
    got, step = b"", 1
    while len(got) < end - start:
        step = min(step * 7 % 999_983, end - start - len(got))
        got += bytes(part.take(step))
    part.close()
    return got


@pytest.mark.usefixtures("patient")
def test_a_whole_object_is_read_without_a_range(store, connection):
    assert read(connection, store) == CONTENT
    assert store.requests == [("pack", "")]


@pytest.mark.usefixtures("patient")
def test_parts_are_read_over_one_connection(store, connection):
    assert read(connection, store, 5, 70_000) == CONTENT[5:70_000]
    assert read(connection, store, 70_000, 80_000) == CONTENT[70_000:80_000]
    assert [wanted for _, wanted in store.requests] == ["bytes=5-69999", "bytes=70000-79999"]
    assert store.connections == 1


def test_a_part_can_be_skipped(store, connection):
    part = Part(connection, lambda _: store.url("pack"), 0, len(CONTENT), len(CONTENT))
    part.skip(2 * fetch.BUFFER + 7)
    assert bytes(part.take(10)) == CONTENT[2 * fetch.BUFFER + 7 :][:10]


def test_a_part_that_is_left_unread_does_not_spoil_the_next(store, connection):
    part = Part(connection, lambda _: store.url("pack"), 0, len(CONTENT), len(CONTENT))
    part.take(10)
    part.close()
    assert read(connection, store, 0, 100) == CONTENT[:100]


@pytest.mark.parametrize(
    "fault",
    [
        http_store.status(503, body=b"SlowDown"),
        http_store.status(500),
        http_store.status(429),
        http_store.cut(0),
        http_store.cut(1_500_000),
        http_store.raw(b""),
        http_store.raw(b"not HTTP at all\r\n\r\n"),
        http_store.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        http_store.raw(b"HTTP/1.1 " + b"9" * 100_000),
        http_store.raw(b"\xff\0\xfe" * 100),
        http_store.silent(),
        http_store.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)  # fmt: skip
def test_a_failure_that_passes_is_survived(store, connection, fault):
    store.faults["pack"] = [fault]
    assert read(connection, store) == CONTENT


@pytest.mark.usefixtures("patient")
def test_a_cut_is_resumed_where_it_happened(store, connection):
    store.faults["pack"] = [http_store.cut(fetch.BUFFER + 17)]
    assert read(connection, store) == CONTENT
    first, second = [wanted for _, wanted in store.requests]
    assert (first, second[:6]) == ("", "bytes=")
    assert int(second[6:].partition("-")[0]) >= fetch.BUFFER


def test_many_cuts_are_survived_as_long_as_bytes_arrive(store, connection):
    store.always["pack"] = http_store.cut(fetch.BUFFER)
    assert read(connection, store) == CONTENT


def test_an_idle_connection_that_the_server_has_closed_is_no_failure(store, connection):
    store.faults["pack"] = [lambda c, answer: c.sendall(answer)] * 20
    for _ in range(20):
        assert read(connection, store, 0, 10) == CONTENT[:10]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (http_store.status(503), "the store answers with status 503"),
        (http_store.status(403), "the store answers with status 403"),
        (http_store.status(404), "the store answers with status 404"),
        (http_store.status(302, "Location: http://127.0.0.1:1/"), "the store answers with status 302"),
        (http_store.status(307, "Location: file:///etc/passwd"), "the store answers with status 307"),
        (http_store.status(204), "the store answers with status 204"),
        (http_store.status(206, body=CONTENT), "the store answers with status 206"),
        (http_store.status(200, body=CONTENT[1:]), "the store announces another length"),
        (http_store.status(200, body=CONTENT + b"x"), "the store announces another length"),
        (http_store.endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabcde\r\n"), "the store announces another length"),
        (http_store.endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000), "the store announces another length"),
        (http_store.cut(100), "the connection was cut"),
        (http_store.silent(), "the store is too slow, or silent"),
        (http_store.dripping(0.05), "the store is too slow, or silent"),
        (http_store.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "the store is too slow, or silent"),
        (http_store.endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000), "the store's answer is malformed: LineTooLong"),
        (http_store.raw(b"garbage\r\n\r\n"), "the store's answer is malformed: BadStatusLine"),
        (http_store.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), "the store announces another length"),
        (http_store.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n"), "the store announces another length"),
    ],
)  # fmt: skip
def test_a_failure_that_lasts_ends_the_part_with_its_reason(store, connection, fault, reason):
    store.always["pack"] = fault
    with pytest.raises(FetchFailed, match=f"^{reason}$"):
        read(connection, store)
    del store.always["pack"]
    assert read(connection, store) == CONTENT  # and the connection can be used again


def test_an_endless_body_is_read_no_further_than_its_length(store, connection):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT
    store.faults["pack"] = [http_store.endless(head, b"x" * 100_000)]
    assert read(connection, store) == CONTENT
    assert read(connection, store, 0, 100) == CONTENT[:100]  # what was sent too much is no answer


def test_a_slow_store_that_delivers_at_the_agreed_rate_is_read(store, connection, monkeypatch):
    monkeypatch.setattr(http_connection, "RATE", 1)
    store.objects["pack"] = CONTENT[:40]
    store.always["pack"] = http_store.dripping(0.02)
    assert read(connection, store, 0, 40, 40) == CONTENT[:40]


@pytest.mark.parametrize("version", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])  # fmt: skip
@pytest.mark.usefixtures("patient")
def test_a_server_without_keep_alive_is_read(store, connection, version):
    head = version + f"Content-Length: {len(CONTENT)}\r\n\r\n".encode()
    store.always["pack"] = http_store.raw(head + CONTENT)
    assert read(connection, store) == CONTENT
    assert read(connection, store) == CONTENT
    assert store.connections == 2


@pytest.mark.usefixtures("patient")
def test_a_refused_url_is_replaced_by_a_fresh_one(store, connection):
    asked = []

    def url(fresh):
        asked.append(fresh)
        return store.url("pack" if len(asked) > 1 else "expired")

    store.always["expired"] = http_store.status(403)
    assert read(connection, store, url=url) == CONTENT
    assert asked == [False, True]


@pytest.mark.usefixtures("patient")
def test_fresh_urls_are_not_requested_for_ever(store, connection):
    asked = []

    def url(fresh):
        asked.append(fresh)
        return store.url("pack")

    store.always["pack"] = http_store.status(403)
    with pytest.raises(FetchFailed):
        read(connection, store, url=url)
    assert asked == [False, True, True]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//127.0.0.1/x",
        "http://",
        "http://user:secret@127.0.0.1/x",
        "http://[::1/x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:1/a b\r\nHost: x",
    ],
)
def test_a_url_that_is_not_plain_http_is_refused_without_being_shown(connection, url):
    with pytest.raises(FetchFailed) as failed:
        read(connection, None, url=lambda _: url)
    assert "secret" not in str(failed.value)
    assert "passwd" not in str(failed.value)


def test_only_hosts_that_are_allowed_are_contacted(store):
    connection = Connection(threading.Event(), threading.Event(), frozenset(("store.example",)))
    with pytest.raises(FetchFailed, match=r"this agent may not contact 127.0.0.1 \(--store\)"):
        read(connection, store)
    assert store.requests == []
    here = Connection(threading.Event(), threading.Event(), frozenset(("127.0.0.1",)))
    assert read(here, store) == CONTENT
    here.close()


def test_proxies_of_the_environment_are_not_used(store, connection, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert read(connection, store) == CONTENT


def test_the_header_host_is_the_one_that_was_signed(connection):
    heads = []
    with HttpStore() as store:
        store.always["x"] = lambda c, _: heads.append(1)
        parts = urlsplit(store.url("x"))
        made, target = connection._connection(store.url("x"))
        assert (made.host, made.port) == ("127.0.0.1", parts.port)
        assert target == "/x?X-Signature=secret"


def test_a_stopped_read_ends_at_once(store, connection, monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 60)
    waiting = threading.Event()

    def silent(server, answer):
        server.sendall(answer[:100])
        waiting.set()
        server.recv(1)

    store.always["pack"] = silent
    failed = []

    def work():
        try:
            read(connection, store)
        except FetchFailed as error:
            failed.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(10)
    connection.stopped.set()
    connection.interrupt()
    thread.join(10)
    assert failed == ["the restore was stopped"]


def test_a_store_that_is_not_there_is_given_up(connection):
    with HttpStore() as store:
        url = store.url("pack")
    with pytest.raises(FetchFailed, match="the store cannot be reached: Connection refused"):
        read(connection, None, url=lambda _: url)


@pytest.mark.parametrize(
    "fault", [http_store.silent(), http_store.dripping(0.05)], ids=["silent", "dripping"]
)
def test_a_store_that_never_answers_is_tried_once_and_briefly(store, first, monkeypatch, fault):
    monkeypatch.setattr(http_connection, "GRACE", 60)
    monkeypatch.setattr(http_connection, "FIRST", 0.2)
    store.always["pack"] = fault
    with pytest.raises(FetchFailed, match="the store is too slow, or silent"):
        read(first, store)
    assert len(store.requests) == 1


def test_a_store_that_drops_connections_is_tried_once_and_briefly(first, monkeypatch):
    monkeypatch.setattr(http_connection, "CONNECT", 0.2)
    with http_store.dropping() as (port, attempts):
        with pytest.raises(FetchFailed, match="the store is too slow, or silent"):
            read(first, None, url=lambda _: f"http://127.0.0.1:{port}/pack")
        assert attempts() == 1


def test_only_one_address_of_each_family_is_tried(first, monkeypatch):
    """S3 has eight, and each would cost the time to connect."""
    monkeypatch.setattr(http_connection, "CONNECT", 0.2)
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with http_store.dropping() as (port, attempts):
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead] * 8)
        with pytest.raises(FetchFailed):
            read(first, None, url=lambda _: f"http://store.example:{port}/pack")
        assert attempts() == 1


def test_a_second_family_is_tried_after_the_first(store, first, monkeypatch):
    monkeypatch.setattr(http_connection, "CONNECT", 0.2)
    v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0))
    v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", store.port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [v6, v6, v4])
    assert read(first, store, url=lambda _: f"http://store.example:{store.port}/pack") == CONTENT


def test_a_store_that_refuses_connections_at_first_is_given_up_early(first, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.05)
    monkeypatch.setattr(http_connection, "FIRST", 0.02)
    with HttpStore() as store:
        url = store.url("pack")
    asked = []
    with pytest.raises(FetchFailed, match="the store cannot be reached: Connection refused"):
        read(first, None, url=lambda fresh: asked.append(fresh) or url)
    assert len(asked) == 1
