"""New frontends restore from the base: the daemon, real OpenSSH servers and a real object store."""

import os
import signal
import subprocess

import pytest

from tests.support import weed
from tests.support.waiting import wait_for
from tests.support.weed import Weed

FILES = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Weed(tmp_path_factory.mktemp("weed") / "store") as store:
        yield store


@pytest.fixture
def backend(make, fleet, store, request):
    """Return a backend with a base and one frontend, which holds everything; the base is published."""
    first = fleet.add(f"first-{request.node.name}", "127.0.1.21")
    backend = make([first])
    backend.env = dict(weed.ENVIRONMENT)
    backend.tables["base"] = {
        "url": f"s3://{weed.BUCKET}/{request.node.name.replace('[', '-').strip(']')}",
        "endpoint": store.url,
        "region": weed.REGION,
        "bandwidth": "1GB/s",
    }
    backend.configure()
    for n in range(FILES):
        path = backend.source / f"d{n % 20}" / f"f{n}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(3000 + n))
    (backend.source / "large").write_bytes(os.urandom(20 << 20))
    (backend.source / "d1" / "link").symlink_to("f1")
    (backend.source / "empty").touch()
    backend.start()
    backend.wait_until_equal()

    def published():
        done = backend.run("base", "publish")
        return done.returncode == 0 and backend.run("base", "status").returncode == 0

    wait_for(published, lambda: backend.run("base", "status").stdout)
    return backend


def join(backend, fleet, name, address):
    """Add a frontend to the running daemon; return its server once it holds everything."""
    server = fleet.add(f"{name}-{backend.directory.name}", address)
    backend.servers.append(server)
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)
    backend.wait_until_equal()
    return server


def test_a_new_frontend_restores_from_the_base(backend, fleet):
    late = backend.source / "d3" / "late"
    late.write_bytes(b"changed since the base was published")
    (backend.source / "d4" / "f4").unlink()
    (backend.source / "d5" / "f5").write_bytes(b"another version")
    server = join(backend, fleet, "second", "127.0.1.22")
    row = backend.row(server)
    assert row["restored"]["failed"] == 0, row
    assert row["restored"]["error"] == ""
    assert row["restored"]["files"] >= FILES
    assert row["restored"]["bytes"] > 20 << 20
    assert row["bytes_sent"] < 1 << 20  # of more than 21 MB
    assert "X-Amz-Signature" not in backend.log.read_text()


def test_without_the_store_everything_comes_over_ssh(backend, fleet, store):
    store.process.send_signal(signal.SIGSTOP)
    try:
        server = join(backend, fleet, "second", "127.0.1.23")
        row = backend.row(server)
    finally:
        store.process.send_signal(signal.SIGCONT)
    assert row["bytes_sent"] > 20 << 20


def hanging_publication(backend):
    """Return a command whose request to the store hangs. A file that was written just now is left out; then another one is begun."""
    requests = backend.status()["base"]["requests"]
    asking = None

    def hangs():
        nonlocal asking
        if backend.status()["base"]["requests"] > requests:
            return True
        if asking is None or asking.poll() is not None:
            asking = subprocess.Popen(
                backend.command("base", "publish"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **backend.env},
            )
        return False

    wait_for(hangs, "a request to the store", pause=0.05)
    return asking


def test_a_reload_does_not_wait_for_a_store_that_hangs(backend, fleet, store):
    store.process.send_signal(signal.SIGSTOP)
    try:
        (backend.source / "more").write_bytes(os.urandom(5000))
        backend.wait_until_equal()
        with hanging_publication(backend) as asking:
            backend.tables["base"]["interval"] = 100
            backend.configure()
            backend.daemon.send_signal(signal.SIGHUP)
            wait_for(lambda: backend.status()["base"]["interval"] == 100, "the reload")
            (backend.source / "meanwhile").write_bytes(b"is replicated")
            backend.wait_until_equal()
            assert store.process.poll() is None
            assert asking.wait(60) != 0, "its publisher has ended"
    finally:
        store.process.send_signal(signal.SIGCONT)
    wait_for(
        lambda: backend.run("base", "publish").returncode == 0,
        lambda: backend.run("base", "status").stdout,
    )
    server = join(backend, fleet, "second", "127.0.1.25")
    assert backend.row(server)["restored"]["failed"] == 0


def test_a_frontend_that_was_filled_before_is_not_restored(backend, fleet):
    (server,) = backend.servers
    backend.stop()
    backend.start()
    backend.wait_until_equal()
    assert backend.row(server)["restored"] is None


def test_a_damaged_pack_is_made_up_for_over_ssh(backend, fleet, store):
    client = store.client()
    prefix = backend.tables["base"]["url"].split("/", 3)[3]
    listed = client.list_objects_v2(Bucket=weed.BUCKET, Prefix=f"{prefix}/packs/")["Contents"]
    for one in listed:
        body = client.get_object(Bucket=weed.BUCKET, Key=one["Key"])["Body"].read()
        client.put_object(Bucket=weed.BUCKET, Key=one["Key"], Body=bytes(len(body)))
    server = join(backend, fleet, "second", "127.0.1.24")
    row = backend.row(server)
    assert row["restored"]["failed"] > 0
    assert row["restored"]["error"]
    assert row["bytes_sent"] > 20 << 20
    assert row["state"] == "live"
