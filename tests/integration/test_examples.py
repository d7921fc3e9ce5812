"""The programs of deploy/examples: hooks, run as the daemon runs them against servers that listen to them, and what a stamp file starts."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from tests.support import PROJECT
from tests.support.aws import ENVIRONMENT, REGION, Cloud
from tests.support.tools import missing

DELIVERED = {
    "event": "delivered", "tree": "/var/www/shop/upload",
    "changed": ["a b.jpg", "d/\udcff", "Foo_(bar)!*'+,;=&@:$~.jpg"], "deleted": ["old.jpg"],
    "renamed": [], "below": [], "since": 1.0, "until": 2.0,
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Notes each request: method, headers, body."""

    def __init__(self):
        self.requests = []
        super().__init__(("127.0.0.1", 0), Notes)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Notes(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_BAN = answer  # noqa: N815  # names that http.server asks for

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


def run(name, event, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, PROJECT / "deploy" / "examples" / name, *arguments],
        input=json.dumps(event).encode() + b"\n",
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_the_chat_message_names_the_frontend_and_the_reason(server):
    event = {"event": "frontend-lost", "frontend": "web2", "reason": "no answer in time", "at": 1.0}
    run("hook-chat", event, server.url)
    ((method, headers, body),) = server.requests
    assert (method, headers["Content-Type"]) == ("POST", "application/json")
    assert json.loads(body) == {"text": "replicator: frontend-lost: web2: no answer in time"}


def test_varnish_bans_exactly_what_was_delivered(server):
    run(
        "hook-varnish",
        DELIVERED | {"below": ["many"], "renamed": [["o", "n"]]},
        "/media",
        server.url,
    )
    assert {method for method, _, _ in server.requests} == {"BAN"}
    patterns = [headers["X-Ban"] for _, headers, _ in server.requests]

    def banned(url):
        return any(re.search(pattern, url) for pattern in patterns)

    plain, encoded = (
        "Foo_(bar)!*'+,;=&@:$~.jpg",
        "Foo_%28bar%29%21%2a%27%2B%2C%3B%3D%26%40%3A%24%7e.jpg",
    )
    hit = ["a%20b.jpg", "a%20b.jpg?v=2", "d/%FF", "d/%ff", "old.jpg", "many/x/y", "o/f", "n/f"]
    hit += [plain, encoded, "Foo_%28bar)!*'+,;=&@:$~.jpg?v=2"]
    assert [name for name in hit if not banned(f"/media/{name}")] == []
    missed = [
        plain.replace(".", "X"),
        "a%20b.jpg.webp",
        "aXb.jpg",
        "other",
        "many2/x",
        "x/media/old.jpg",
    ]
    assert [name for name in missed if banned(f"/media/{name}")] == []


@pytest.mark.parametrize(
    ("event", "items"),
    [
        (
            DELIVERED,
            [
                "/media/a%20b.jpg",
                "/media/d/%FF",
                "/media/Foo_(bar)!*'+,;=&@:$~.jpg",
                "/media/old.jpg",
            ],
        ),
        (DELIVERED | {"changed": [str(n) for n in range(50)]}, ["/media/*"]),
        (DELIVERED | {"changed": [], "deleted": [], "below": ["many"]}, ["/media/many/*"]),
        (DELIVERED | {"changed": [], "deleted": [], "below": [""]}, ["/media/*"]),
    ],
)
def test_cloudfront_invalidates_what_was_delivered(event, items):
    with Cloud() as cloud:
        session = boto3.session.Session(
            aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION
        )
        front = session.client("cloudfront", endpoint_url=cloud.url)
        distribution = front.create_distribution(DistributionConfig=config())["Distribution"]["Id"]
        environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": cloud.url, "AWS_REGION": REGION}
        made = run("hook-cloudfront", event, distribution, "/media", **environment).split()[0]
        found = front.get_invalidation(DistributionId=distribution, Id=made)["Invalidation"]
        assert found["InvalidationBatch"]["Paths"]["Items"] == items


def deploy(site, new, second, *, bin_dir, failing=(), **environment):
    """Run the example in the given second, with commands that fail; return the names of the releases that it leaves, and its exit status."""
    bin_dir.mkdir(exist_ok=True)
    scripts = dict.fromkeys(("mv", "replicator"), "") | dict.fromkeys(failing, "exit 1")
    scripts["mv"] = scripts["mv"] or f'exec {shutil.which("mv")} "$@"'
    scripts["date"] = f"echo 20260101T0000{second:02}"
    for name, script in scripts.items():
        (bin_dir / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_dir / name).chmod(0o755)
    done = subprocess.run(
        [PROJECT / "deploy" / "examples" / "deploy", new, site],
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    releases = {one.name.split(".")[0][-2:] for one in (site / "releases").iterdir()}
    return sorted(map(int, releases)), done.returncode


@pytest.fixture
def release(tmp_path):
    """Return a function that deploys content to the site and reads what is live then, as `deploy` does."""
    new, site = tmp_path / "new", tmp_path / "site"
    new.mkdir()

    def release(content, second, **how):
        (new / "index").write_text(content)
        kept, status = deploy(site, new, second, bin_dir=tmp_path / "bin", **how)
        return (site / "current" / "index").read_text(), kept, status

    return release


def test_a_deployment_that_was_killed_before_the_switch_does_not_stop_the_next(release):
    assert release("1", 1) == ("1", [1], 0)
    assert release("2", 2, failing=["mv"]) == ("1", [1, 2], 1)
    assert release("3", 3) == ("3", [1, 2, 3], 0)


def test_the_releases_that_visitors_read_survive_the_removal_of_old_ones(release):
    assert release("1", 1) == ("1", [1], 0)
    for second in (2, 3, 4):
        assert release("lost", second, failing=["replicator"])[2] == 1
    assert release("5", 5) == ("5", [1, 3, 4, 5], 0)
    assert release("6", 6) == ("6", [4, 5, 6], 0)
    assert release("7", 7, KEEP="0") == ("7", [6, 7], 0)


def test_a_command_is_run_again_if_the_stamp_file_was_replaced_meanwhile(tmp_path):
    stamp, ran = tmp_path / "stamp", tmp_path / "ran"
    stamp.write_text("1")
    # Its first run replaces the stamp file, as a change that arrives meanwhile would.
    script = f"echo run >> {ran}; [ $(wc -l < {ran}) -gt 1 ] || echo 2 > {stamp}"
    command = [PROJECT / "deploy" / "examples" / "on-stamp", stamp, "/bin/sh", "-c", script]
    subprocess.run(command, env={**os.environ, "PAUSE": "0"}, check=True, timeout=30)
    assert ran.read_text() == "run\nrun\n"


def test_systemd_understands_the_units_of_the_stamp_file(tmp_path):
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze")
    examples = PROJECT / "deploy" / "examples"
    for unit in ("replicator-stamp.path", "replicator-stamp.service"):
        text = (examples / unit).read_text()
        here = text.replace("/usr/local/bin/on-stamp", str(examples / "on-stamp"))
        (tmp_path / unit).write_text(here)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "replicator-stamp.path"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in done.stderr.splitlines() if "replicator-stamp" in line]
    assert ours == []
    assert done.returncode == 0


def config():
    return {
        "CallerReference": "test", "Comment": "", "Enabled": True,
        "Origins": {"Quantity": 1, "Items": [{
            "Id": "one", "DomainName": "origin.example.com",
            "CustomOriginConfig": {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "http-only"},
        }]},
        "DefaultCacheBehavior": {"TargetOriginId": "one", "ViewerProtocolPolicy": "allow-all"},
    }  # fmt: skip
