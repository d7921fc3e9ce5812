"""Frontends found through the AWS API (moto, over HTTP), real sshd behind it, and the daemon as it is run.

Needs root, for each server's own mounts.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from replicator.control import client
from replicator.demo.trees import difference
from replicator.errors import ControlError
from tests.support import aws as cloud
from tests.support.aws import REGION, Cloud, Recorded
from tests.support.looking import below
from tests.support.sshd import Keys, Sshd, free_port, needs_namespaces
from tests.support.waiting import FOREVER, wait_for

TARGET = "/srv/replicated"
COUNT = 8
FILES = 300


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


@pytest.fixture(scope="module")
def api():
    with Cloud() as made:
        yield made


class Site:
    """A backend, servers that listen on one port of many addresses, and the daemon."""

    def __init__(self, directory, url) -> None:
        needs_namespaces()
        self.directory = directory
        self.url = url
        self.keys = Keys(directory / "keys")
        self.port = free_port("127.0.5.1")
        self.source = directory / "source"
        self.servers = []
        self.daemon = None
        rnd = random.Random(1)
        for number in range(FILES):
            place = self.source / f"{number % 10}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.jpg").write_bytes(rnd.randbytes(5000))

    def add_server(self, *, started=True):
        number = len(self.servers) + 1
        world = self.directory / f"world-{number}"
        world.mkdir()
        made = Sshd(
            self.directory / f"sshd-{number}",
            keys=self.keys,
            address=f"127.0.5.{number}",
            binds={TARGET: world},
        )
        made.port = self.port
        self.servers.append(made)
        if started:
            made.start()
        with (self.directory / "known_hosts").open("a") as known:
            known.write(made.known_hosts_line())
        return made

    def configure(self, **tables):
        tables = {
            "discovery": {
                "provider": "alb",
                "load_balancer": "shop",
                "endpoint_url": self.url,
                "region": REGION,
                "interval": 0.2,
                "exclude": ["i-0backend"],
                **tables.pop("discovery", {}),
            },
            "ssh": {
                "user": "root",
                "port": self.port,
                "identity": str(self.keys.identity),
                "known_hosts": "known_hosts",
                **tables.pop("ssh", {}),
            },
            "retry": {"first": 0.1, "cap": 0.5},
            "state": {"directory": "state"},
            **tables,
        }
        text = f'[[tree]]\nsource = "source"\ntarget = "{TARGET}/up"\n'
        for table, values in tables.items():
            lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
            text += "\n".join([f"\n[{table}]", *lines, ""])
        self.config.write_text(text)

    @property
    def config(self):
        return self.directory / "replicator.toml"

    def run(self, *arguments):
        command = [sys.executable, "-m", "replicator", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self):
        command = [sys.executable, "-m", "replicator", "serve", "--config", str(self.config)]
        with (self.directory / "log").open("ab") as log:
            self.daemon = subprocess.Popen(command, stderr=log, stdout=log)
        return self

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(10)
        self.daemon = None

    def status(self):
        with contextlib.suppress(OSError, ControlError, StopIteration):
            return next(client.ask(self.directory / "state/control.sock", {"command": "status"}))
        return {"frontends": [], "trees": [], "bootstrapping": 0, "discovery": []}

    def rows(self):
        return {row["host"]: row for row in self.status()["frontends"]}

    def wait_live(self, servers, seconds=FOREVER):
        hosts = {server.address for server in servers}

        def live():
            rows = self.rows()
            return set(rows) == hosts and all(
                row["state"] == "live" and not row["dirty"] for row in rows.values()
            )

        wait_for(live, lambda: json.dumps(self.status(), indent=1) + self.log()[-3000:], seconds)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def copy(self, server):
        return Path(server.see(f"{TARGET}/up"))

    def differences(self):
        return [paths for server in self.servers if (paths := difference(self.source, self.copy(server)))]  # fmt: skip

    def upload(self, name, servers):
        """Write a file; return the seconds until it is on these servers."""
        (self.source / name).write_text(name)
        begun = time.monotonic()
        wait_for(lambda: all((self.copy(s) / name).exists() for s in servers), f"{name} to arrive")
        return time.monotonic() - begun

    def close(self):
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(15)
        for server in self.servers:
            server.stop()


@pytest.fixture
def site(tmp_path, api):
    made = Site(tmp_path, api.url)
    yield made
    made.close()


@pytest.fixture
def group(api):
    """A target group of addresses behind a load balancer of its own."""
    api.elb.describe_load_balancers()
    for old in api.elb.describe_load_balancers()["LoadBalancers"]:
        api.elb.delete_load_balancer(LoadBalancerArn=old["LoadBalancerArn"])
    for old in api.elb.describe_target_groups()["TargetGroups"]:
        api.elb.delete_target_group(TargetGroupArn=old["TargetGroupArn"])
    made = api.target_group("web", "ip")
    api.load_balancer("shop", made)
    return made


def test_a_scale_out_is_bounded_delays_no_upload_and_reads_each_file_once(site, api, group):
    old = [site.add_server() for _ in range(3)]
    site.configure(bootstrap={"concurrency": 2, "bandwidth": "500KiB/s"})
    api.register(group, *(server.address for server in old))
    site.start()
    site.wait_live(old)
    before = site.rows()

    new = [site.add_server() for _ in range(COUNT - 3)]
    api.register(group, *(server.address for server in new))
    inside, positions, arrived = [], set(), []
    deadline = time.monotonic() + 90  # 15 s of filling; 30 s beside three other test processes
    number = 0
    while True:
        status = site.status()
        inside.append(status["bootstrapping"])
        positions |= {row["queue_position"] for row in status["frontends"]}
        arrived.append(site.upload(f"live-{number}", old))
        number += 1
        rows = status["frontends"]
        if len(rows) == COUNT and all(row["state"] == "live" for row in rows):
            break
        assert time.monotonic() < deadline, status
    site.wait_live(site.servers)

    assert max(inside) == 2
    assert {1, 2, 3} <= positions
    assert max(arrived) < 5.0  # two frontends are filled for six seconds before the next two
    assert site.differences() == []
    after = site.rows()
    for server in old:
        assert after[server.address]["reconciles"] == before[server.address]["reconciles"] == 1
    assert {row["logins"] for row in after.values()} == {1}
    (tree,) = site.status()["trees"]
    assert (
        tree["files_hashed"] <= FILES + 2 * number
    )  # once each; a path with a fresh stamp is checked again


def test_a_daemon_killed_in_the_middle_of_a_scale_out_resumes(site, api, group):
    servers = [site.add_server() for _ in range(4)]
    site.configure(bootstrap={"concurrency": 4, "bandwidth": "2MiB/s"})
    api.register(group, *(server.address for server in servers))
    site.start()

    def half():
        return all(len(below(site.copy(server), "*.jpg")) > FILES // 3 for server in servers)  # fmt: skip

    wait_for(half, site.status)
    site.kill()
    there = [len(below(site.copy(server), "*.jpg")) for server in servers]
    site.configure(bootstrap={"concurrency": 2})
    site.start()
    site.wait_live(servers)

    assert site.differences() == []
    rows = site.rows()
    for server, count in zip(servers, there, strict=True):
        # Files are compared by time and size; those that arrived keep their place.
        sent = rows[server.address]["files_sent"]
        assert sent <= FILES - count + 30, (sent, count)


def test_a_frontend_that_is_not_up_yet_waits_outside_of_the_gate(site, api, group):
    late = site.add_server(started=False)
    others = [site.add_server() for _ in range(2)]
    site.configure(bootstrap={"concurrency": 1})
    api.register(group, late.address, *(server.address for server in others))
    site.start()
    wait_for(
        lambda: all(site.rows().get(o.address, {}).get("state") == "live" for o in others),
        site.status,
    )
    assert site.rows()[late.address]["state"] in ("retrying", "connecting")
    late.start()
    site.wait_live(site.servers)
    assert site.differences() == []


def test_what_changes_while_a_frontend_is_filled_is_right_at_the_end_without_a_second_pass(
    site, api, group
):
    server = site.add_server()
    site.configure(bootstrap={"bandwidth": "350KiB/s"})
    api.register(group, server.address)
    site.start()
    first, last = site.source / "0/0.jpg", site.source / "9/99.jpg"
    wait_for((site.copy(server) / "0/0.jpg").exists, "the first file")
    assert not (site.copy(server) / "9/99.jpg").exists()
    first.write_bytes(b"changed after it was sent")
    last.write_bytes(b"changed before it was sent")
    (site.source / "8/98.jpg").unlink()
    (site.source / "9/new.jpg").write_bytes(b"made meanwhile")
    assert site.rows()[server.address]["state"] == "bootstrapping"
    site.wait_live([server])

    assert site.differences() == []
    assert site.rows()[server.address]["reconciles"] == 1


def test_a_frontend_whose_image_holds_nearly_everything_gets_the_rest_only(site, api, group):
    server = site.add_server()
    copy = site.copy(server)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(site.source, copy)
    (copy / "3/3.jpg").unlink()
    (copy / "4/4.jpg").write_bytes(b"old")
    site.configure()
    api.register(group, server.address)
    site.start()
    site.wait_live([server])

    assert site.differences() == []
    row = site.rows()[server.address]
    assert row["files_sent"] <= 2 + 12  # and directories whose time differs
    assert row["bytes_sent"] < 2 * 5000 + 20_000


def test_a_frontend_that_falls_silent_delays_no_other_and_is_retried_with_pauses(site, api, group):
    servers = [site.add_server() for _ in range(3)]
    silent, *others = servers
    limits = {"keepalive": 3.0, "connect_timeout": 4.0, "op_timeout": 8.0}
    site.configure(ssh=limits, retry={"first": 0.5, "cap": 2.0})
    api.register(group, *(server.address for server in servers))
    site.start()
    site.wait_live(servers)

    before = len(site.log())
    with silent.frozen():
        for number in range(100):
            (site.source / f"more-{number}").write_text(str(number))
        wait_for(
            lambda: all((site.copy(o) / f"more-{n}").exists() for o in others for n in range(100)),
            site.status,
        )
        # Before the silence is noticed: nobody waited for that.
        assert site.rows()[silent.address]["state"] == "live"
        # Long enough for some attempts; the silence and the failed attempts are logged once each.
        wait_for(lambda: site.rows()[silent.address]["state"] == "retrying", site.status)
        since = site.rows()[silent.address]["lag_seconds"]
        wait_for(lambda: site.rows()[silent.address]["lag_seconds"] > since + 10, site.status)
        logged = [line for line in site.log()[before:].splitlines() if "frontend failed" in line]
        assert 1 <= len(logged) <= 2
        assert site.rows()[silent.address]["last_error"]
    site.wait_live(servers)
    assert site.differences() == []
    assert [site.rows()[o.address]["logins"] for o in others] == [1, 1]


def test_a_target_that_is_deregistered_leaves_and_affects_no_other(site, api, group):
    servers = [site.add_server() for _ in range(3)]
    site.configure()
    api.register(group, *(server.address for server in servers))
    site.start()
    site.wait_live(servers)
    api.deregister(group, servers[0].address)
    site.wait_live(servers[1:])
    assert {row["logins"] for row in site.rows().values()} == {1}
    assert {row["reconciles"] for row in site.rows().values()} == {1}


def test_a_reload_of_an_interval_touches_no_frontend(site, api, group):
    servers = [site.add_server() for _ in range(2)]
    site.configure()
    api.register(group, *(server.address for server in servers))
    site.start()
    site.wait_live(servers)
    third = site.add_server()
    site.configure(discovery={"interval": 0.1})
    site.daemon.send_signal(signal.SIGHUP)
    api.register(group, third.address)
    site.wait_live(site.servers)
    assert {row["logins"] for row in site.rows().values()} == {1}
    assert {row["reconciles"] for row in site.rows().values()} == {1}


def test_accept_new_accepts_a_fleet_that_is_not_in_known_hosts(site, api, group):
    servers = [site.add_server() for _ in range(2)]
    (site.directory / "known_hosts").write_text("")
    site.configure(ssh={"host_keys": "accept-new"})
    api.register(group, *(server.address for server in servers))
    site.start()
    site.wait_live(servers)
    pins = (site.directory / "state/host_keys").read_text()
    assert all(server.host_key in pins for server in servers)


# `replicator discover` and `replicator check`


def test_discover_shows_what_is_seen_and_what_becomes_of_it(site, api, group):
    site.configure()
    api.register(group, "127.0.5.1", "127.0.5.2")
    done = site.run("discover")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "127.0.5.1" in done.stdout
    assert "alb web" in done.stdout
    assert "serve" in done.stdout
    rows = json.loads(site.run("discover", "--json").stdout)["providers"]
    assert [row["provider"] for row in rows] == ["static", "alb shop"]
    assert {s["address"] for s in rows[1]["sightings"]} == {"127.0.5.1", "127.0.5.2"}


def one_permission_missing():
    denied = "User: arn:aws:sts::1:assumed-role/backend/i-0 is not authorized to perform: {}"
    return Recorded(
        DescribeTargetGroups=cloud.target_groups("web", kind="instance"),
        DescribeTargetHealth=cloud.health(("i-1", "healthy"), ("i-2", "draining")),
        DescribeInstances=cloud.ec2_error(
            "UnauthorizedOperation", denied.format("ec2:DescribeInstances"), 403
        ),
    )


def test_a_missing_permission_is_named_with_what_to_do(site):
    with one_permission_missing() as api:
        extra = {"endpoint_url": api.url, "target_groups": ["web"], "load_balancer": []}
        site.configure(discovery=extra)
        discovered, checked = site.run("discover"), site.run("check")
    assert discovered.returncode == 3
    assert "the IAM permission ec2:DescribeInstances is missing" in discovered.stdout
    assert checked.returncode == 1
    assert "the IAM permission ec2:DescribeInstances is missing" in checked.stdout
    assert "docs/iam-policy.json" in checked.stdout
    assert "Traceback" not in discovered.stderr + checked.stderr


def test_an_api_that_does_not_answer_is_an_error_in_one_line(site):
    site.configure(discovery={"endpoint_url": f"http://127.0.0.1:{free_port('127.0.0.1')}"})
    done = site.run("discover")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_daemon_starts_and_waits_while_the_api_is_down(site, api, group):
    servers = [site.add_server()]
    with Recorded() as down:  # every action is an error
        site.configure(discovery={"endpoint_url": down.url})
        site.start()
        wait_for(lambda: any(d["failures"] for d in site.status()["discovery"]), site.log)
        (error,) = [d["error"] for d in site.status()["discovery"] if d["error"]]
        assert "InvalidAction" in error
        api.register(group, servers[0].address)
        site.configure()
        site.daemon.send_signal(signal.SIGHUP)
        site.wait_live(servers)
    assert os.path.exists(site.directory / "state/roster.json")
