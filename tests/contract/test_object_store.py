"""Contract of ports.ObjectStore: S3Store against moto and against a real store (SeaweedFS), and FakeStore pass the same tests."""

import time
import urllib.error
import urllib.request

import boto3
import pytest

from replicator.errors import StoreError
from replicator.ports import Versioned
from replicator.store.s3 import S3Store
from tests.support import aws, weed
from tests.support.fakes.store import FakeStore

PART = 5 << 20


def free(_):
    """A pace without a limit."""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with weed.Weed(tmp_path_factory.mktemp("weed")) as store:
        yield store


@pytest.fixture(scope="module")
def moto():
    with aws.Cloud() as cloud:
        boto3.session.Session(
            aws_access_key_id="testing", aws_secret_access_key="testing", region_name="us-east-1"
        ).client("s3", endpoint_url=cloud.url).create_bucket(Bucket=weed.BUCKET)
        yield cloud


@pytest.fixture(params=["fake", "moto", "weed"])
def store(request, monkeypatch):
    if request.param == "fake":
        yield FakeStore()
        return
    server = request.getfixturevalue("moto" if request.param == "moto" else "real")
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    prefix = f"{request.node.name}/"
    one = S3Store(weed.BUCKET, prefix, endpoint=server.url)
    yield one
    one.delete([stored.name for stored in one.list("")])
    one.close()


def test_what_is_put_can_be_read_and_is_listed(store):
    before = time.time()
    store.put("a/one", b"hello", free)
    store.put("a/two", b"", free)
    store.put("b", b"x", free)
    assert store.get("a/one", 5) == b"hello"
    assert store.get("a/two", 5) == b""
    listed = list(store.list("a/"))
    assert [(one.name, one.size) for one in listed] == [("a/one", 5), ("a/two", 0)]
    assert all(before - 2 <= one.modified <= time.time() + 2 for one in listed)


def test_what_is_put_again_is_replaced(store):
    store.put("a", b"old", free)
    store.put("a", b"newer", free)
    assert store.get("a", 10) == b"newer"


def test_an_object_that_does_not_exist_is_none(store):
    assert store.get("nothing", 10) is None


def test_an_object_beyond_the_limit_is_an_error(store):
    store.put("a", b"12345", free)
    with pytest.raises(StoreError, match="more than 4 bytes"):
        store.get("a", 4)


def test_a_swap_writes_only_an_object_that_has_the_version(store):
    first = store.swap("pointer", b"one", None)
    assert first
    assert store.swap("pointer", b"two", None) is None
    assert store.load("pointer", 10) == Versioned(b"one", first)
    second = store.swap("pointer", b"two", first)
    assert second
    assert store.swap("pointer", b"late", first) is None
    store.put("pointer", b"another", free)
    assert store.swap("pointer", b"late", second) is None
    assert store.get("pointer", 10) == b"another"
    store.delete(["pointer"])
    assert store.swap("pointer", b"late", second) is None
    assert store.load("pointer", 10) is None


def test_an_object_can_be_written_in_parts(store):
    store.put_parts("big", iter([b"a" * PART, b"b" * PART, b"end"]), free)
    assert store.get("big", 20 << 20) == b"a" * PART + b"b" * PART + b"end"


def test_parts_that_fail_leave_nothing(store):
    def parts():
        yield b"a" * PART
        raise StoreError("changed while it was read")

    with pytest.raises(StoreError, match="changed while it was read"):
        store.put_parts("big", parts(), free)
    assert list(store.list("")) == []
    assert store.abort_uploads(time.time() + 100) == 0


def test_deleted_objects_are_gone_and_absent_ones_are_no_error(store):
    for name in ("a", "b", "c"):
        store.put(name, b"x", free)
    store.delete(["a", "b", "nothing"])
    assert [one.name for one in store.list("")] == ["c"]


def test_more_objects_than_a_page_are_listed_and_deleted(store):
    names = [f"n/{i:04}" for i in range(1010)]
    for name in names:
        store.put(name, b"", free)
    assert [one.name for one in store.list("n/")] == names
    store.delete(names)
    assert list(store.list("n/")) == []


def test_every_byte_of_an_upload_is_paced_and_a_pace_can_end_it(store):
    taken = []
    store.put("a", bytes(1 << 20), taken.append)
    assert sum(taken) == 1 << 20

    def refuse(_):
        raise StoreError("stopping")

    with pytest.raises(StoreError, match="stopping"):
        store.put("a", b"small", refuse)
    with pytest.raises(StoreError, match="stopping"):
        store.put_parts("b", iter([bytes(PART)]), refuse)
    assert store.get("a", 1 << 20) == bytes(1 << 20), "what was there is not replaced"
    assert store.get("b", 1 << 20) is None


def test_requests_and_bytes_are_counted(store):
    store.put("a", b"12345", free)
    requests = store.requests
    store.get("a", 10)
    assert store.requests == requests + 1
    assert store.bytes_sent == 5


def test_a_url_lets_anyone_read_the_object_and_parts_of_it(store):
    store.put("a", b"0123456789", free)
    url = store.url("a", 60)
    if isinstance(store, FakeStore):
        return
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"0123456789"
    ranged = urllib.request.Request(url, headers={"Range": "bytes=3-5"})
    with urllib.request.urlopen(ranged) as answer:
        assert (answer.status, answer.read()) == (206, b"345")


@pytest.mark.parametrize("store", ["weed"], indirect=True)
def test_a_url_is_refused_when_it_has_expired_or_names_another_object(store):
    store.put("a", b"x", free)
    store.put("b", b"secret", free)
    url = store.url("a", 1)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace("/a?", "/b?"))
    deadline = time.monotonic() + 30

    def read_until_refused():
        while time.monotonic() < deadline:
            urllib.request.urlopen(url).close()

    with pytest.raises(urllib.error.HTTPError, match="403"):
        read_until_refused()


def test_a_store_that_refuses_the_credentials_is_one_sentence(monkeypatch, real):
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Store(weed.BUCKET, "p/", endpoint=real.url)
    with pytest.raises(StoreError, match="PutObject: SignatureDoesNotMatch"):
        store.put("a", b"x", free)


def test_a_store_that_cannot_be_reached_is_one_sentence(monkeypatch):
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    store = S3Store(weed.BUCKET, "p/", endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreError, match="Could not connect"):
        store.get("a", 10)


def test_a_missing_bucket_is_one_sentence(monkeypatch, real):
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="no such bucket"):
        list(S3Store("no-such-bucket", "p/", endpoint=real.url).list(""))
