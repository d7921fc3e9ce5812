"""What changes between the manifest and the end of a restore: a frontend never keeps what the source does not have any more."""

import json
import os
import random
import re
import signal
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support import weed
from tests.support.faults import Line
from tests.support.waiting import wait_for
from tests.support.weed import Weed

FILES = 400
SIZE = 20_000
RATE = 1_500_000
"""Bytes per second between frontends and store: a restore takes five seconds."""


class Place(NamedTuple):
    address: str
    port: int


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Weed(tmp_path_factory.mktemp("weed") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def slow(store):
    """Return the endpoint of a slow line to the store."""
    with Line(Place("127.0.0.1", urlsplit(store.url).port), RATE) as line:
        yield f"http://{line.frontend}"


@pytest.fixture
def backend(make, fleet, request):
    """Return a backend with one frontend that is not started yet."""
    name = request.node.name.replace("_", "-")[-40:]
    backend = make([fleet.add(f"first-{name}", f"127.0.1.{41 + len(fleet_used)}")])
    fleet_used.append(name)
    backend.env = dict(weed.ENVIRONMENT)
    backend.prefix = name
    return backend


fleet_used = []


def begin(backend, endpoint, files=FILES, size=SIZE, **base):
    """Fill the source, start the daemon and publish the base."""
    backend.tables["base"] = {
        "url": f"s3://{weed.BUCKET}/{backend.prefix}",
        "endpoint": endpoint,
        "region": weed.REGION,
        "bandwidth": "1GB/s",
        "interval": 3600,
        **base,
    }
    for n in range(files):
        path = backend.source / f"d{n % 20}" / f"f{n}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(size))
    backend.configure()
    backend.start()
    backend.wait_until_equal()

    def published():
        done = backend.run("base", "publish")
        return done.returncode == 0 and backend.run("base", "status").returncode == 0

    wait_for(published, lambda: backend.run("base", "status").stdout)


def join(backend, fleet):
    """Add a frontend to the running daemon; return its server."""
    number = len(fleet_used)
    fleet_used.append("late")
    server = fleet.add(f"late-{number}", f"127.0.1.{41 + number}")
    backend.servers.append(server)
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)
    return server


def row_of(backend, server):
    rows = (backend.status() or {}).get("frontends", ())
    return next((row for row in rows if row["host"] == server.address), None)


def until_restoring(backend, server, files=20):
    """Wait until some files were restored; return the frontend's row."""

    def restoring():
        row = row_of(backend, server)
        return row if row and row["restored"] and row["restored"]["files"] >= files else None

    return wait_for(restoring, backend.explain)


def until_live(backend, server):
    def live():
        row = row_of(backend, server)
        return row and row["state"] == "live" and row["dirty"] == 0

    wait_for(live, backend.explain)


def change(source, rng):
    """Change something that the base holds: remove, replace or rename a file or a directory."""
    path = rng.choice(sorted(source.rglob("f*")))
    what = rng.randrange(5)
    if what == 0:
        path.unlink()
    elif what == 1:
        path.write_bytes(b"newer" * rng.randrange(1, 9000))
    elif what == 2:
        path.rename(path.with_name(f"{path.name}-renamed"))
    elif what == 3:
        fresh = path.with_name(".fresh")
        fresh.write_bytes(b"replaced")
        fresh.rename(path)
    else:
        directory = path.parent
        directory.rename(directory.with_name(f"{directory.name}r"))


def test_changes_before_and_during_a_restore_win(backend, fleet, slow):
    begin(backend, slow)
    rng = random.Random(1)
    for _ in range(30):
        change(backend.source, rng)
    server = join(backend, fleet)
    until_restoring(backend, server)
    for _ in range(60):
        change(backend.source, rng)
    backend.wait_until_equal()
    assert backend.row(server)["restored"]["files"] > 50


def test_a_frontend_that_dies_during_its_restore_ends_as_the_source_is(backend, fleet, slow):
    begin(backend, slow)
    rng = random.Random(2)
    server = join(backend, fleet)
    agent = until_restoring(backend, server)["agent"]
    os.kill(int(re.search(r"pid (\d+)", agent)[1]), signal.SIGKILL)
    for _ in range(40):
        change(backend.source, rng)
    backend.wait_until_equal()
    assert backend.row(server)["logins"] >= 2


def test_without_deletions_a_new_frontend_gets_nothing_that_was_deleted_since(
    backend, fleet, store
):
    backend.tree["delete"] = False
    begin(backend, store.url, files=60)
    before = entries(backend)
    (backend.source / "d1" / "f1").unlink()
    (backend.source / "d2").rename(backend.source / "renamed")
    # A name counts as deleted half a second after it is missing; until then a new frontend gets it over SSH as well.
    wait_for(lambda: entries(backend) == before - 1, backend.explain)
    server = join(backend, fleet)
    wait_for(lambda: not backend.differences([server]), lambda: backend.explain([server]))
    assert backend.row(server)["restored"] is None
    assert "tree.delete is off" in backend.run("base", "status").stdout


def test_while_deletions_are_paused_a_new_frontend_gets_nothing_that_was_deleted(
    backend, fleet, store
):
    begin(backend, store.url, size=1000)
    (backend.source / "d3" / "f3").unlink()
    wait_for(lambda: not backend.differences(), backend.explain)
    for n in range(300):
        (backend.source / f"d{n % 20}" / f"f{n}").unlink(missing_ok=True)
    wait_for(lambda: backend.status()["trees"][0]["state"] == "paused", backend.explain)
    server = join(backend, fleet)
    wait_for(lambda: not backend.differences([server]), lambda: backend.explain([server]))
    assert backend.differences()[backend.servers[0].address], "the other one keeps what it had"
    assert backend.run("resume").returncode == 0
    backend.wait_until_equal()


def test_what_is_excluded_since_the_manifest_does_not_come_to_a_new_frontend(backend, fleet, store):
    """Also while the publisher is busy: it uploads a large file at a low rate."""
    begin(backend, store.url, files=60, size=1000, bandwidth="300KB/s", interval=1)
    secret = backend.source / "d1" / "secret.sql"
    secret.write_bytes(b"a dump that must not be served")
    assert backend.run("base", "publish").returncode == 0
    backend.wait_until_equal()
    before = requests(backend)
    (backend.source / "large").write_bytes(os.urandom(15 << 20))
    backend.wait_until_equal()
    wait_for(lambda: requests(backend) > before, backend.log.read_text)
    backend.tree["exclude"] = ["*.sql"]
    server = join(backend, fleet)
    until_live(backend, server)
    assert (backend.copy(server) / "large").stat().st_size == 15 << 20
    assert not (backend.copy(server) / "d1" / "secret.sql").exists()
    assert (backend.copy(backend.servers[0]) / "d1" / "secret.sql").exists()


def entries(backend):
    """Return how many entries the catalog has."""
    return backend.status()["trees"][0]["entries"]


def requests(backend):
    """Return how many requests the publisher has begun."""
    return json.loads(backend.run("base", "status", "--json").stdout)["requests"]
