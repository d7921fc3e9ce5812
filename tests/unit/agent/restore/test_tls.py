"""Stores over HTTPS: a certificate that an operator's authority has signed for the host is accepted, and no other."""

import threading

import pytest

from replicator.agent.restore import fetch, http_connection
from replicator.agent.restore.fetch import Connection, FetchFailed, Part
from tests.support import http_store
from tests.support.certificates import DAY, Authority
from tests.support.http_store import HttpStore

CONTENT = b"0123456789" * 100_000


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """Return an authority that this process trusts."""
    one = Authority(tmp_path / "authority")
    trust(one, monkeypatch)
    yield one
    http_connection.context.cache_clear()


def trust(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    monkeypatch.setenv("SSL_CERT_DIR", str(authority.directory / "none"))
    http_connection.context.cache_clear()


def read(store):
    """Return what an agent reads of the object `pack`."""
    connection = Connection(threading.Event(), threading.Event())
    got = b""
    try:
        with Part(connection, lambda _: store.url("pack"), 0, len(CONTENT), len(CONTENT)) as part:
            while len(got) < len(CONTENT):
                got += bytes(part.take(min(fetch.BUFFER, len(CONTENT) - len(got))))
    finally:
        connection.close()
    return got


def serving(certificate):
    store = HttpStore(certificate)
    store.objects["pack"] = CONTENT
    return store


def test_a_certificate_of_an_authority_of_the_operator_is_accepted(authority):
    with serving(authority.issue("localhost")) as store:
        assert read(store) == CONTENT


def test_a_cut_connection_is_resumed(authority):
    with serving(authority.issue("localhost")) as store:
        store.faults["pack"] = [http_store.cut(300_000)]
        assert read(store) == CONTENT
        assert len(store.requests) == 2


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"host": "other.example"}, "mismatch"),
        ({"host": "localhost", "self_signed": True}, "self.signed"),
        ({"host": "localhost", "begin": -9 * DAY, "end": -DAY}, "expired"),
        ({"host": "localhost", "begin": DAY, "end": 2 * DAY}, "not yet valid"),
    ],
    ids=["another host", "self-signed", "expired", "not yet valid"],
)
def test_another_certificate_is_refused_before_anything_is_requested(authority, how, reason):
    with serving(authority.issue(**how)) as store:
        with pytest.raises(
            FetchFailed, match=f"its certificate is not trusted: .*{reason}"
        ) as failed:
            read(store)
        assert store.requests == [], "the URL, a secret, was sent"
        assert "secret" not in str(failed.value)
        assert store.connections == 1, "the certificate is the same at the next attempt"


def test_an_authority_that_is_not_installed_is_refused(tmp_path, authority, monkeypatch):
    other = Authority(tmp_path / "other")
    with serving(other.issue("localhost")) as store:
        with pytest.raises(FetchFailed, match=r"its certificate is not trusted: .*local issuer"):
            read(store)
        trust(other, monkeypatch)
        assert read(store) == CONTENT


def test_a_store_that_does_not_speak_tls_is_refused(authority, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    monkeypatch.setattr(http_connection, "FIRST", 0.2)
    with serving(None) as store:
        store.url = lambda path: f"https://localhost:{store.port}/{path}"
        with pytest.raises(FetchFailed):
            read(store)
        assert store.requests == []


def test_a_store_that_is_silent_in_the_handshake_is_given_up_early(authority, monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 60)
    monkeypatch.setattr(http_connection, "FIRST", 0.2)
    with serving(None) as store:
        store.url = lambda path: f"https://localhost:{store.port}/{path}"
        store._serve = hold
        with pytest.raises(FetchFailed, match="too slow, or silent"):
            read(store)
        assert store.connections == 1


def hold(connection):
    """Accept a connection and answer nothing."""
    with connection:
        while connection.recv(1000):
            pass
