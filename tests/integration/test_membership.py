"""Frontends come and go while the backend runs, and nobody else notices; agents are real, in child processes."""

import asyncio
import json
import os
import time

import pytest
from msgspec.structs import replace as changed

from replicator.demo.trees import difference
from tests.support import aws as cloud
from tests.support.aws import REGION, Recorded
from tests.support.backend import Backend, LocalFleet
from tests.support.waiting import turns, wait_for

READY = ".replicator/ready"
MAX_LAG = 1.0
"""Seconds: a busy machine delivers one file to two frontends with less than that between them, and not always within 0.2."""


def listed(path, *hosts):
    """Write the file provider's list atomically."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(list(hosts)))
    temporary.replace(path)


@pytest.fixture
def frontends(tmp_path):
    return tmp_path / "frontends.json"


def fill(backend, count=200):
    for number in range(count):
        (backend.source / f"{number:03}").write_bytes(os.urandom(500))


def from_file(tmp_path, frontends, **more):
    discovery = {"provider": "file", "path": str(frontends), "interval": 0.05}
    return Backend(tmp_path, hosts=(), discovery=discovery, **more)


def rows(backend):
    return {row["host"]: row for row in backend.status()["frontends"]}


def launch(backend):
    return rows(backend).get("10.0.0.1", {"launch": ""})["launch"]


def live(backend, *hosts):
    def all_live():
        status = backend.status()
        found = {row["host"]: row for row in status["frontends"]}
        return (
            set(found) == set(hosts)
            and all(row["state"] == "live" and not row["dirty"] for row in found.values())
            and not any(tree["pending"] for tree in status["trees"])
        )

    wait_for(all_live, lambda: f"{hosts} to be live: {backend.status()}")


def test_joining_and_leaving_does_not_affect_other_frontends(tmp_path, frontends):
    listed(frontends, "one", "two")
    with from_file(tmp_path, frontends) as backend:
        fill(backend)
        live(backend, "one", "two")
        for host in ("one", "two"):
            assert not difference(backend.source, backend.site(host))
        before = rows(backend)
        listed(frontends, "one", "two", "three")
        live(backend, "one", "two", "three")
        listed(frontends, "one", "three")
        live(backend, "one", "three")
        after = rows(backend)

        for name in ("logins", "reconciles", "files_sent", "bytes_sent"):
            assert after["one"][name] == before["one"][name], name
        (backend.source / "new").write_bytes(b"new")
        wait_for(lambda: not difference(backend.source, backend.site("three")), backend.status)
        assert not (backend.site("two") / "new").exists()  # it left, and keeps what it had


def test_a_broken_file_of_frontends_is_reported_and_drops_no_frontend(tmp_path, frontends):
    listed(frontends, "one", "two")
    with from_file(tmp_path, frontends) as backend:
        live(backend, "one", "two")
        frontends.write_text('["one", ')
        wait_for(lambda: backend.status()["discovery"][1]["failures"] > 2, "failures")
        shown = backend.status()["discovery"][1]
        frontends.write_text("[]")
        wait_for(lambda: "empty" in backend.status()["discovery"][1]["doubt"], "doubt")

        assert "Expecting value" in shown["error"]
        assert set(rows(backend)) == {"one", "two"}


def test_another_machine_at_a_known_address_is_another_frontend(tmp_path, frontends):
    frontends.write_text('[{"address": "one", "identity": "vm-1"}]')
    with from_file(tmp_path, frontends) as backend:
        fill(backend, 10)
        live(backend, "one")
        frontends.write_text('[{"address": "one", "identity": "vm-2"}]')
        wait_for(lambda: rows(backend)["one"]["instance_id"] == "vm-2", "the other machine")
        live(backend, "one")
        assert rows(backend)["one"]["logins"] == 1  # a new replica, which has logged in by itself


def test_a_restart_during_an_outage_serves_the_fleet_that_was_known(tmp_path, frontends):
    listed(frontends, "one", "two")
    with from_file(tmp_path, frontends) as backend:
        live(backend, "one", "two")
    frontends.unlink()
    with from_file(tmp_path, frontends) as backend:
        (backend.source / "new").write_bytes(b"new")
        wait_for((backend.site("one") / "new").exists, backend.status)
        assert set(rows(backend)) == {"one", "two"}


def polls(backend):
    return max(provider["looks"] for provider in backend.status()["discovery"])


def test_a_reload_that_changes_nothing_of_discovery_polls_no_provider_again(tmp_path, frontends):
    listed(frontends, "one")
    with from_file(tmp_path, frontends) as backend:
        live(backend, "one")
        wait_for(lambda: polls(backend) >= 2, backend.status)
        before = polls(backend)
        backend.call(backend.app.reload(backend.config))
        assert polls(backend) >= before, "it was not begun anew"
        assert rows(backend)["one"]["logins"] == 1


def test_a_reload_of_what_is_excluded_compares_everybody_and_sends_only_what_differs(tmp_path):
    with Backend(tmp_path, tree={"exclude": ["*.log"]}) as backend:
        fill(backend)
        (backend.source / "a.log").write_bytes(b"log")
        wait_for((backend.site("two") / "199").exists, backend.status)
        live(backend, "one", "two")
        before = rows(backend)
        inodes = {path.name: path.stat().st_ino for path in backend.site("one").iterdir()}
        assert "a.log" not in inodes

        (tree,) = backend.config.tree
        backend.call(backend.app.reload(changed(backend.config, tree=(changed(tree, exclude=()),))))
        wait_for((backend.site("one") / "a.log").exists, backend.status)
        live(backend, "one", "two")
        after = rows(backend)
        assert after["one"]["files_sent"] - before["one"]["files_sent"] <= 2
        assert {name: (backend.site("one") / name).stat().st_ino for name in inodes} == inodes

        backend.call(backend.app.reload(backend.config))
        (backend.source / "next").write_bytes(b"next")
        wait_for((backend.site("one") / "next").exists, backend.status)
        live(backend, "one", "two")
        assert (backend.site("one") / "a.log").read_bytes() == b"log", "nobody deletes it either"


def test_a_reload_of_a_tree_closes_no_connection_however_often(tmp_path, monkeypatch):
    monkeypatch.setattr("replicator.app.trees.MAX_TREES", 3)  # the numbers of trees are used anew
    with Backend(tmp_path) as backend:
        fill(backend, 10)
        live(backend, "one", "two")
        (tree,) = backend.config.tree
        numbers = set()
        for number in range(5):
            settings = changed(tree, exclude=(f"{number}.log",))
            backend.call(backend.app.reload(changed(backend.config, tree=(settings,))))
            (backend.source / f"after-{number}").write_bytes(b"x")
            wait_for((backend.site("one") / f"after-{number}").exists, backend.status)
            live(backend, "one", "two")
            numbers |= backend.app.service.pipelines.keys()
        assert numbers == {1, 2, 3}
        assert [rows(backend)[host]["logins"] for host in backend.hosts] == [1, 1]


# The ready file


def with_ready(tmp_path, hosts=("one",), max_lag=60.0, **more):
    tree = {"ready_file": READY, "ready_max_lag": max_lag, "exclude": ["kept"]}
    return Backend(tmp_path, hosts=hosts, tree=tree, **more)


def ready(backend, host="one"):
    return (backend.site(host) / READY).exists()


def test_the_ready_file_is_the_very_last_to_arrive(tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(2000):
        (tmp_path / "source" / f"{number:03}").write_bytes(os.urandom(500))
    with with_ready(tmp_path) as backend:
        missing = []

        def arrived():
            if not ready(backend):
                return False
            missing.extend(f for f in range(2000) if not (backend.site("one") / f"{f:03}").exists())
            return True

        wait_for(arrived, "the ready file", pause=0.0)
        assert not missing
        assert (backend.site("one") / READY).stat().st_mode & 0o777 == 0o644
        assert (backend.site("one") / ".replicator").stat().st_mode & 0o777 == 0o755
        wait_for(lambda: rows(backend)["one"]["ready"] is True, backend.status)


def test_a_ready_file_that_names_another_machine_goes_before_anything_else(tmp_path):
    site = tmp_path / "one" / "site"
    (site / ".replicator").mkdir(parents=True)
    (site / READY).write_text("replicator: i-0image holds everything\n")
    bandwidth = {"bandwidth": "400KiB/s"}
    with with_ready(tmp_path, bootstrap=bandwidth) as backend:
        (backend.source / "large").write_bytes(os.urandom(1 << 20))
        wait_for(lambda: rows(backend).get("one", {}).get("state") == "bootstrapping", "the start")
        wait_for(lambda: not ready(backend), "the old one to go")
        assert rows(backend)["one"]["state"] == "bootstrapping"
        wait_for(lambda: ready(backend), "the ready file")
        assert (site / "large").stat().st_size == 1 << 20


def test_a_restart_takes_no_complete_frontend_out_of_service(tmp_path):
    with with_ready(tmp_path) as backend:
        fill(backend)
        wait_for(lambda: ready(backend), "the ready file")
    before = (tmp_path / "one" / "site" / READY).stat().st_ino
    with with_ready(tmp_path) as backend:
        live(backend, "one")
        assert (backend.site("one") / READY).stat().st_ino == before


def test_a_frontend_that_missed_a_change_is_out_of_service_after_a_restart(tmp_path):
    with with_ready(tmp_path) as backend:
        wait_for(lambda: ready(backend), "the ready file")
    (tmp_path / "source" / "missed").write_bytes(os.urandom(1 << 20))
    with with_ready(tmp_path, bootstrap={"bandwidth": "400KiB/s"}) as backend:
        wait_for(lambda: not ready(backend), "it to be out of service")
        wait_for(lambda: ready(backend), "it to be back")
        assert (backend.site("one") / "missed").stat().st_size == 1 << 20


def test_a_frontend_that_lags_too_long_is_out_of_service_until_it_catches_up(tmp_path):
    tree = {"ready_file": READY, "ready_max_lag": 0.3, "exclude": ["kept"]}
    with Backend(tmp_path, hosts=["one"], tree=tree) as backend:
        wait_for(lambda: ready(backend), "the ready file")
        in_the_way = backend.site("one") / "page"
        in_the_way.mkdir()
        (in_the_way / "kept").write_text("excluded: nobody deletes it, and no file takes its place")
        (backend.source / "page").write_text("page")
        wait_for(lambda: not ready(backend), backend.status)
        wait_for(lambda: rows(backend)["one"]["ready"] is False, backend.status)
        (in_the_way / "kept").unlink()
        wait_for(lambda: ready(backend), backend.status)
        assert in_the_way.read_text() == "page"


def test_the_source_cannot_forge_the_ready_file_nor_remove_it(tmp_path):
    with with_ready(tmp_path) as backend:
        (backend.source / ".replicator").mkdir()
        (backend.source / READY).write_text("forged")
        wait_for(lambda: ready(backend), "the ready file")
        live(backend, "one")
        assert "holds everything" in (backend.site("one") / READY).read_text()
        (backend.source / READY).unlink()
        (backend.source / ".replicator").rmdir()
        (backend.source / "next").write_text("next")
        wait_for((backend.site("one") / "next").exists, "the next file")
        assert ready(backend)


def two_ready(tmp_path, max_lag, **more):
    backend = with_ready(tmp_path, hosts=("one", "two"), max_lag=max_lag, **more)
    wait_for(lambda: ready(backend, "one") and ready(backend, "two"), backend.status)
    return backend


def in_the_way(backend, host, name):
    """Have a frontend refuse a file: a directory of its name holds what is excluded."""
    (backend.site(host) / name).mkdir()
    (backend.site(host) / name / "kept").write_text("excluded")


def stays_ready(backend, seconds):
    """Return True if both frontends keep their ready files for some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not (ready(backend, "one") and ready(backend, "two")):
            return False
        time.sleep(0.01)
    return True


def test_a_file_in_the_place_of_our_directory_takes_no_frontend_out_of_service(tmp_path):
    with two_ready(tmp_path, MAX_LAG) as backend:
        (backend.source / ".replicator").write_text("by www-data")
        (backend.source / "next").write_text("next")
        live(backend, "one", "two")
        assert stays_ready(backend, 3)
        assert (backend.site("two") / "next").read_text() == "next"
        (backend.source / ".replicator").unlink()
        (backend.source / ".replicator").symlink_to("next")
        assert stays_ready(backend, 2)


def test_only_a_path_that_others_accept_takes_a_frontend_out_of_service(
    tmp_path,
):
    backend = two_ready(tmp_path, MAX_LAG)
    with backend:
        for host in backend.hosts:
            in_the_way(backend, host, "page")
        (backend.source / "page").write_text("page")
        wait_for(lambda: all(r["problems"] for r in rows(backend).values()), backend.status)
        assert stays_ready(backend, 3)

        in_the_way(backend, "one", "other")
        (backend.source / "other").write_text("other")
        wait_for(lambda: not ready(backend, "one"), backend.status)
        assert ready(backend, "two")
        (backend.site("one") / "other/kept").unlink()
        wait_for(lambda: ready(backend, "one"), backend.status)  # though both refuse the page

    # A restart finds on both that the page is missing.
    with with_ready(tmp_path, hosts=("one", "two"), max_lag=MAX_LAG) as backend:
        assert stays_ready(backend, 3)


class SlowLines(LocalFleet):
    """Lines of 8 MiB/s to the frontend "one", and of 5 to the others, while `slow` is set."""

    slow = False

    async def connect(self, address, identity=""):
        channel = await super().connect(address, identity)
        write, rate = channel.write, (8 << 20 if address.host == "one" else 5 << 20)

        async def slowly(data):
            if self.slow:
                await asyncio.sleep(len(data) / rate)
            await write(data)

        channel.write = slowly
        return channel


def test_a_large_upload_takes_no_frontend_out_of_service(tmp_path):
    """The one line is slower than the other, so that the file is there earlier."""
    with two_ready(tmp_path, 0.2, connector=SlowLines(tmp_path)) as backend:
        backend.connector.slow = True
        (backend.source / "large").write_bytes(bytes(16 << 20))
        wait_for(lambda: all(row["dirty"] for row in rows(backend).values()), backend.status)
        while any(row["dirty"] for row in rows(backend).values()):
            assert stays_ready(backend, 0.1)


# Launches


def waiting(state="Pending:Wait", hook_timeout=3):
    return Recorded(
        DescribeAutoScalingGroups=cloud.scaling_group("shop", ("i-1", state)),
        DescribeLifecycleHooks=cloud.hooks(("fill", hook_timeout)),
        DescribeInstances=cloud.instances(("i-1", "running", "10.0.0.1")),
        RecordLifecycleActionHeartbeat=cloud.done("RecordLifecycleActionHeartbeat"),
        CompleteLifecycleAction=cloud.done("CompleteLifecycleAction"),
    )


def scaling(tmp_path, api, connector=None, **more):
    discovery = {
        "provider": "autoscaling",
        "auto_scaling_groups": "shop",
        "endpoint_url": api.url,
        "region": REGION,
        "interval": 0.1,
        "exclude": ["i-0backend"],
        **more.pop("discovery", {}),
    }
    return Backend(tmp_path, hosts=(), discovery=discovery, connector=connector, **more)


@pytest.fixture
def credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


@pytest.mark.usefixtures("credentials")
def test_a_launch_is_completed_only_after_everything_is_there_with_heartbeats_meanwhile(tmp_path):
    with waiting(hook_timeout=1) as api:
        there = []
        expected = 50

        def complete(fields):
            site = tmp_path / "10.0.0.1" / "site"
            there.append((len(list(site.iterdir())), fields["LifecycleActionResult"]))
            return cloud.done("CompleteLifecycleAction")

        api.answers["CompleteLifecycleAction"] = complete
        (tmp_path / "source").mkdir()
        for number in range(expected):
            (tmp_path / "source" / f"{number:03}").write_bytes(os.urandom(20_000))
        with scaling(tmp_path, api, bootstrap={"bandwidth": "350KiB/s"}) as backend:
            wait_for(lambda: there, "completion")
            wait_for(
                lambda: launch(backend) == "verified: put into service",
                "the launch to be shown in status",
            )
            polls = api.asked["DescribeAutoScalingGroups"]
            wait_for(lambda: api.asked["DescribeAutoScalingGroups"] > polls + 3, "more polls")

        assert there == [
            (expected, "CONTINUE")
        ]  # once, although the group still reports Pending:Wait
        assert api.asked["RecordLifecycleActionHeartbeat"] >= 3


@pytest.mark.usefixtures("credentials")
def test_a_launch_is_completed_again_while_the_group_still_waits_whatever_it_answers(tmp_path):
    """Right after `Pending:Wait` appears, the API may not know the action yet."""
    gone = cloud.error("ValidationError", "No active Lifecycle Action found with instance ID i-1")
    with waiting() as api:
        api.answers["CompleteLifecycleAction"] = gone
        (tmp_path / "source").mkdir()
        with scaling(tmp_path, api) as backend:
            wait_for(lambda: "still in" in launch(backend), lambda: launch(backend))
            api.answers["CompleteLifecycleAction"] = cloud.done("CompleteLifecycleAction")
            wait_for(
                lambda: launch(backend) == "verified: put into service",
                lambda: launch(backend),
            )


@pytest.mark.usefixtures("credentials")
def test_a_launch_whose_hook_is_replaced_is_completed_by_the_new_name(tmp_path):
    gone = cloud.error("ValidationError", "No active Lifecycle Action found with instance ID i-1")
    with waiting() as api:
        completed = []

        def complete(fields):
            completed.append(fields["LifecycleHookName"])
            return cloud.done("CompleteLifecycleAction") if completed[-1] == "fill-v2" else gone

        api.answers["CompleteLifecycleAction"] = complete
        (tmp_path / "source").mkdir()
        with scaling(tmp_path, api) as backend:
            wait_for(lambda: "fill" in completed, "an attempt by the old name")
            api.answers["DescribeLifecycleHooks"] = cloud.hooks(("fill-v2", 60))
            wait_for(lambda: "fill-v2" in completed, lambda: completed)
            wait_for(
                lambda: launch(backend) == "verified: put into service",
                lambda: launch(backend),
            )


@pytest.mark.usefixtures("credentials")
def test_content_that_is_wrong_with_the_right_size_and_time_is_repaired_before_service(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"right")
    os.utime(tmp_path / "source" / "file", ns=(10**18, 10**18))
    site = tmp_path / "10.0.0.1" / "site"
    site.mkdir(parents=True)
    (site / "file").write_bytes(b"wrong")
    os.utime(site / "file", ns=(10**18, 10**18))
    with waiting() as api:
        content = []

        def complete(_):
            content.append((site / "file").read_bytes())
            return cloud.done("CompleteLifecycleAction")

        api.answers["CompleteLifecycleAction"] = complete
        with scaling(tmp_path, api):
            wait_for(lambda: content, "completion")
    assert content == [b"right"]


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("on_failure", ["abandon", "leave"])
def test_a_launch_that_fails_is_abandoned_or_left_as_configured(tmp_path, on_failure):
    settings = {"give_up": 0.5, "on_failure": on_failure}
    fleet = LocalFleet(tmp_path)
    fleet.refused.add("10.0.0.1")
    with waiting() as api, scaling(tmp_path, api, fleet, discovery=settings) as backend:

        def given_up():
            return rows(backend).get("10.0.0.1", {}).get("launch", "").startswith("given up")

        wait_for(given_up, backend.status)
        results = [f["LifecycleActionResult"] for a, f in api.requests if a.startswith("Complete")]
        assert results == (["ABANDON"] if on_failure == "abandon" else [])
        assert rows(backend)["10.0.0.1"]["state"] in ("retrying", "connecting")  # and is tried on


@pytest.mark.usefixtures("credentials")
def test_a_launch_is_completed_while_uploads_never_pause(tmp_path):
    with waiting() as api, scaling(tmp_path, api) as backend:
        number = 0

        def upload():
            nonlocal number
            for _ in range(3):
                (backend.source / f"{number}").write_bytes(b"x" * 1000)
                number += 1
            return api.asked["CompleteLifecycleAction"]

        wait_for(upload, backend.status, pause=0.01)


@pytest.mark.usefixtures("credentials")
def test_an_instance_that_is_terminating_is_dropped(tmp_path):
    with waiting("InService") as api, scaling(tmp_path, api) as backend:
        live(backend, "10.0.0.1")
        api.answers["DescribeAutoScalingGroups"] = cloud.scaling_group(
            "shop", ("i-1", "Terminating:Wait"), ("i-2", "InService")
        )
        api.answers["DescribeInstances"] = cloud.instances(
            ("i-1", "running", "10.0.0.1"), ("i-2", "running", "10.0.0.2")
        )
        live(backend, "10.0.0.2")


@pytest.mark.usefixtures("credentials")
def test_completing_a_launch_hook_is_retried_after_throttling(tmp_path):
    with waiting() as api:
        answers = [cloud.error("Throttling", "Rate exceeded")] * 4
        done = cloud.done("CompleteLifecycleAction")
        api.answers["CompleteLifecycleAction"] = lambda _: answers.pop() if answers else done
        with scaling(tmp_path, api) as backend:
            wait_for(
                lambda: rows(backend).get("10.0.0.1", {}).get("launch", "").startswith("verified"),
                backend.status,
            )
    assert api.asked["CompleteLifecycleAction"] == 5


def test_a_reload_of_settle_counts_for_a_tree_that_is_replicated(tmp_path):
    with Backend(tmp_path, settle={"cooldown": 0.05, "max_wait": 3600.0}) as backend:
        live(backend, "one", "two")
        with (backend.source / "log").open("wb") as log:  # it stays open for writing
            log.write(b"line")
            log.flush()
            backend.call(turns())
            settle = changed(backend.config.settle, max_wait=0.2, rescan=7.0)
            backend.call(backend.app.reload(changed(backend.config, settle=settle)))
            log.write(b"another line")
            log.flush()
            wait_for((backend.site("one") / "log").exists, backend.status)
        (pipeline,) = backend.app.service.pipelines.values()
        assert pipeline._watcher._rescan == 7.0
        assert rows(backend)["one"]["logins"] == 1
