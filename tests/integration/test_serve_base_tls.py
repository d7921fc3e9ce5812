"""A store over HTTPS with a certificate of the operator's own authority: the daemon, real OpenSSH servers and a real object store."""

import os
import signal

import pytest

from tests.support import weed
from tests.support.certificates import Authority
from tests.support.waiting import wait_for
from tests.support.weed import Weed

FILES = 100


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, authority):
    certificate = authority.issue("localhost")
    with Weed(tmp_path_factory.mktemp("weed") / "store", certificate, authority.path) as store:
        yield store


def configured(backend, store, prefix):
    backend.tables["base"] = {
        "url": f"s3://{weed.BUCKET}/{prefix}",
        "endpoint": store.url,
        "region": weed.REGION,
        "bandwidth": "1GB/s",
    }
    backend.configure()
    for n in range(FILES):
        (backend.source / f"f{n}").write_bytes(os.urandom(30_000))


@pytest.fixture
def backend(make, fleet, store, authority):
    """Return a backend that trusts the authority and has published; with one frontend."""
    backend = make([fleet.add("first", "127.0.1.31")])
    backend.env = {**weed.ENVIRONMENT, "AWS_CA_BUNDLE": str(authority.path)}
    configured(backend, store, "trusted")
    backend.start()
    backend.wait_until_equal()

    def published():
        return backend.run("base", "publish").returncode == 0

    wait_for(published, lambda: backend.run("base", "status").stdout)
    return backend


def join(backend, fleet, name, address, **options):
    """Add a frontend to the running daemon; return its row once it holds everything."""
    server = fleet.add(name, address, **options)
    backend.servers.append(server)
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)
    backend.wait_until_equal()
    return backend.row(server)


def test_a_frontend_that_trusts_the_authority_restores_and_another_is_filled_over_ssh(
    backend, fleet, authority
):
    row = join(backend, fleet, "trusts", "127.0.1.32", env={"SSL_CERT_FILE": str(authority.path)})
    assert (row["restored"]["failed"], row["restored"]["error"]) == (0, "")
    assert row["restored"]["files"] == FILES
    assert row["bytes_sent"] < 1 << 20
    row = join(backend, fleet, "does-not", "127.0.1.33")
    assert row["restored"]["files"] == 0
    assert row["restored"]["error"].startswith("its certificate is not trusted: ")
    assert row["bytes_sent"] > FILES * 30_000
    assert row["state"] == "live"
    assert "X-Amz-Signature" not in backend.log.read_text()


def test_a_backend_that_does_not_trust_the_authority_publishes_nothing_and_says_why(
    make, fleet, store
):
    backend = make([fleet.add("alone", "127.0.1.34")])
    backend.env = dict(weed.ENVIRONMENT)
    configured(backend, store, "distrusted")
    backend.start()
    backend.wait_until_equal()
    done = backend.run("base", "publish")
    assert done.returncode != 0
    assert "certificate verify failed" in done.stdout + done.stderr
    assert backend.run("base", "status").returncode == 3
    assert (
        not store.client().list_objects_v2(Bucket=weed.BUCKET, Prefix="distrusted/").get("Contents")
    )
