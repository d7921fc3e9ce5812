"""`replicator wait` against a running daemon and real SSH servers; a deploy script whose visitors never see a mixed release."""

import http.server
import os
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.support import PROJECT
from tests.support.waiting import wait_for

FLIPS = 10
REQUESTS = 1000
ASSETS = 60


@pytest.fixture(scope="module")
def servers(fleet):
    return [fleet.add("wait-one", "127.0.0.71"), fleet.add("wait-two", "127.0.0.72")]


def test_the_command_lists_the_frontends_that_have_confirmed_and_the_others(
    backend, servers, fleet
):
    for number in range(20):
        path = backend.source / "f"
        path.write_text(str(number))
        done = backend.run("wait", *random.choice(([], [str(path)])))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("confirmed by 2 frontends")
        assert [(backend.copy(server) / "f").read_text() for server in servers] == [str(number)] * 2
    done = backend.run("wait", str(backend.directory / "elsewhere"))
    assert (done.returncode, done.stderr) == (
        1,
        f"replicator: {backend.directory / 'elsewhere'}: it is in none of the replicated directories\n",
    )
    backend.configure("127.0.0.73:9")
    backend.daemon.send_signal(1)
    wait_for(lambda: len(backend.status()["frontends"]) == 3, backend.explain)
    done = backend.run("wait", "--timeout", "0.5")
    assert done.returncode == 3
    assert "127.0.0.73: not connected" in done.stderr
    assert backend.run("wait", "--frontend", servers[0].frontend).returncode == 0


class Frontend(http.server.SimpleHTTPRequestHandler):
    """Serves a site as a web server with $realpath_root does: the link is resolved once for each request."""

    def do_GET(self):
        try:
            body = self.server.read(self.path.lstrip("/"))
        except OSError as error:
            self.send_error(404, str(error))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Site(http.server.ThreadingHTTPServer):
    """The web server of one frontend; `/` is a page that includes two files and names its release."""

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), Frontend)
        self.root = root
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def read(self, path):
        if path:
            return (self.root / path).read_bytes()
        release = self.root / os.readlink(
            self.root / "current"
        )  # not resolve(): the root is below /proc/PID/root
        parts = [(release / name).read_text() for name in ("header", "footer")]
        return " ".join([*parts, release.name]).encode()


class Visitor(threading.Thread):
    """Asks a random frontend for the page, and a random one for an asset of the release that the page names."""

    def __init__(self, sites, seed):
        super().__init__()
        self.sites = sites
        self.random = random.Random(seed)
        self.requests = 0
        self.mixed = []
        self.seen = set()
        self.ends = threading.Event()

    def get(self, path):
        site = self.random.choice(self.sites)
        self.requests += 1
        with urllib.request.urlopen(
            f"http://127.0.0.1:{site.server_port}/{path}", timeout=10
        ) as got:
            return got.read().decode()

    def run(self):
        while not self.ends.is_set():
            try:
                header, footer, release = self.get("").split()
                asset = self.get(f"releases/{release}/asset-{self.random.randrange(ASSETS)}")
                self.seen.add(header)
                if not header == footer == asset.split()[0]:
                    self.mixed.append((header, footer, asset[:20]))
            except (OSError, urllib.error.HTTPError) as error:
                self.mixed.append(repr(error))


def write_release(directory, number):
    directory.mkdir()
    for name in ("header", "footer", *(f"asset-{index}" for index in range(ASSETS))):
        filler = " " + os.urandom(20_000).hex() if name.startswith("asset") else ""
        (directory / name).write_text(f"release-{number}{filler}")


def test_visitors_never_see_a_mixed_release_while_a_deploy_script_waits(backend, servers, tmp_path):
    command = " ".join(backend.command("wait")[:-1])
    environment = {
        **os.environ,
        # An override serves to see that this test fails without a fence: REPLICATOR_DEPLOY_FENCE=true
        "REPLICATOR": os.environ.get(
            "REPLICATOR_DEPLOY_FENCE", command.removesuffix(" wait --config")
        ),
        "REPLICATOR_CONFIG": str(backend.config),
    }

    def deploy(number):
        write_release(tmp_path / str(number), number)
        script = PROJECT / "deploy" / "examples" / "deploy"
        done = subprocess.run(
            [script, tmp_path / str(number), backend.source],
            check=False, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    deploy(0)
    backend.wait_until_equal()
    sites = [Site(backend.copy(server)) for server in servers]
    visitors = [Visitor(sites, seed) for seed in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for number in range(1, FLIPS + 1):
            deploy(number)
            for visitor in visitors:
                wait_for(
                    lambda v=visitor, n=number: f"release-{n}" in v.seen or v.mixed, backend.explain
                )
        wait_for(lambda: sum(visitor.requests for visitor in visitors) >= REQUESTS, backend.explain)
    finally:
        for visitor in visitors:
            visitor.ends.set()
        for visitor in visitors:
            visitor.join()
        for site in sites:
            site.shutdown()
            site.server_close()
    assert [visitor.mixed for visitor in visitors] == [[]] * len(visitors)
    assert sum(visitor.requests for visitor in visitors) >= REQUESTS
    assert len(list((backend.source / "releases").iterdir())) == 3


def test_a_stopped_daemon_does_not_hold_a_deploy_script_for_ever(backend):
    backend.daemon.send_signal(19)
    try:
        began = time.monotonic()
        done = backend.run("wait", "--timeout", "1")
        assert done.returncode == 1
        assert "has not answered" in done.stderr
        assert time.monotonic() - began < 20
    finally:
        backend.daemon.send_signal(18)
