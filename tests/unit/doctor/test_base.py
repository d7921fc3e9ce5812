"""`check` tests the store of the base as publisher and frontends use it, and leaves nothing there."""

import boto3
import pytest

from replicator.config import parse
from replicator.doctor.base import base_findings
from tests.support import aws, weed


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Return settings with a base in moto's store."""
    for name, value in weed.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with aws.Cloud() as cloud:
        s3 = boto3.session.Session(region_name="us-east-1").client("s3", endpoint_url=cloud.url)
        s3.create_bucket(Bucket="bucket")
        tree = {"source": str(tmp_path), "target": "/srv"}

        def settings(url="s3://bucket/site"):
            raw = {"tree": [tree], "base": {"url": url, "endpoint": cloud.url} if url else {}}
            return parse({**raw, "state": {"directory": "/state"}}, base=tmp_path)

        settings.objects = lambda: s3.list_objects_v2(Bucket="bucket").get("Contents", [])
        yield settings


def test_a_store_that_works_is_ok_and_left_as_it_was(config):
    (finding,) = base_findings(config())
    assert (finding.level, finding.subject) == ("ok", "base s3://bucket/site")
    assert config.objects() == []


def test_a_store_that_does_not_work_is_a_warning_with_the_reason(config):
    (finding,) = base_findings(config("s3://elsewhere/site"))
    assert finding.level == "warn"
    assert "no such bucket" in finding.what
    assert finding.why


def test_a_url_that_cannot_be_read_is_a_warning_that_does_not_quote_it(config, monkeypatch):
    monkeypatch.setattr("replicator.store.s3.S3Store.url", lambda *_: "http://127.0.0.1:9/?secret")
    (finding,) = base_findings(config())
    assert finding.level == "warn"
    assert "secret" not in finding.what
    assert config.objects() == []


def test_without_a_base_nothing_is_tested(config):
    assert list(base_findings(config(""))) == []
