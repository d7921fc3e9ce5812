"""`replicator pause` against running daemons: restarts and reloads, the ready file, the exit codes and every view."""

import json
import os
import re
import signal

import pytest

from tests.support.backend import Backend
from tests.support.waiting import wait_for

READY = ".replicator/ready"


@pytest.fixture(scope="module")
def servers(fleet):
    return [fleet.add("pause-one", "127.0.0.74"), fleet.add("pause-two", "127.0.0.75")]


def row(backend, server):
    rows = backend.status()["frontends"]
    return next(row for row in rows if row["host"] == name(server))


def name(server):
    return server.frontend.rpartition("@")[2].partition(":")[0]


def exists(backend, server, path):
    return (backend.copy(server) / path).exists()


def test_a_paused_frontend_gets_nothing_across_a_reload_and_a_restart(backend, servers):
    one, two = servers
    done = backend.run("pause", name(one))
    assert (done.returncode, done.stdout.startswith(f"paused: {one.frontend}")) == (0, True), done
    (backend.source / "first").write_text("first")
    wait_for(lambda: exists(backend, two, "first"), backend.explain)
    backend.daemon.send_signal(signal.SIGHUP)
    (backend.source / "second").write_text("second")
    wait_for(lambda: exists(backend, two, "second"), backend.explain)
    backend.stop()
    (backend.source / "third").write_text("third")
    backend.start()
    wait_for(lambda: exists(backend, two, "third"), backend.explain)
    wait_for(lambda: row(backend, one)["connected"], backend.explain)
    assert not any(exists(backend, one, path) for path in ("first", "second", "third"))

    status = backend.run("status")
    assert status.returncode == 3
    assert "paused since" in status.stdout
    assert f"`replicator unpause {one.frontend}`" in status.stdout
    assert row(backend, one)["paused"]["by"] == "root" or os.geteuid()
    waited = backend.run("wait", "--timeout", "30")
    assert waited.returncode == 3, waited
    assert float(re.search(r"not confirmed after ([\d.]+)", waited.stderr)[1]) < 15, waited
    assert "paused since" in waited.stderr
    assert backend.run("bootstrap", name(one)).returncode == 1

    done = backend.run("unpause", name(one))
    assert done.stdout == f"unpaused: {one.frontend}\n"
    backend.wait_until_equal()
    assert exists(backend, one, "third")
    assert backend.run("status").returncode == 0
    assert backend.run("unpause", name(one)).stdout == f"not paused: {one.frontend}\n"


def test_a_paused_tree_is_named_by_its_last_component(backend, servers):
    done = backend.run("pause", backend.source.name, "--for", "1h")
    assert done.stdout == f"paused: {backend.source} for 1h\n", done
    (backend.source / "late").write_text("late")
    wait_for(
        lambda: [row["dirty"] for row in backend.status()["frontends"]] == [1, 1], backend.explain
    )
    assert not any(exists(backend, server, "late") for server in servers)
    answer = json.loads(backend.run("status", "--json").stdout)
    (tree,) = answer["trees"]
    assert (answer["ok"], tree["state"]) == (False, "paused")
    assert tree["paused"]["until"] == pytest.approx(tree["paused"]["since"] + 3600)
    assert backend.run("pause", str(backend.source)).stdout.endswith("(it was paused before)\n")
    assert backend.run("unpause", str(backend.source)).returncode == 0
    backend.wait_until_equal()


def test_an_unknown_name_is_refused_with_the_known_ones(backend, servers):
    for command in ("pause", "unpause", "resume"):
        done = backend.run(command, "nowhere")
        assert done.returncode == 1
        assert all(server.frontend in done.stderr for server in servers)
        assert str(backend.source) in done.stderr
        assert "Traceback" not in done.stderr


def with_ready(directory, hosts=("one", "two")):
    tree = {"ready_file": READY, "ready_max_lag": 0.2}
    return Backend(directory, hosts=list(hosts), tree=tree)


def pause(backend, command, named):
    return backend.ask(command=command, name=named, host=named)


def states(backend):
    return {row["host"]: row["state"] for row in backend.status()["frontends"]}


def is_ready(backend, host):
    return (backend.site(host) / READY).exists()


def test_a_paused_frontend_is_out_of_service_once_it_lacks_what_another_has(tmp_path):
    with with_ready(tmp_path) as backend:
        wait_for(lambda: is_ready(backend, "one") and is_ready(backend, "two"), backend.explain)
        pause(backend, "pause", "one")
        (backend.source / "f").write_text("f")
        wait_for(lambda: not is_ready(backend, "one"), backend.explain_status)
        assert is_ready(backend, "two")
        wait_for(lambda: backend.row("one")["ready"] is False, backend.explain_status)
        pause(backend, "unpause", "one")
        wait_for(lambda: is_ready(backend, "one"), backend.explain_status)
        assert (backend.site("one") / "f").read_text() == "f"


def test_a_paused_tree_takes_no_frontend_out_of_service_and_puts_no_new_one_into_it(tmp_path):
    for hosts in (["one"], ["one", "two"]):
        directory = tmp_path / str(len(hosts))
        directory.mkdir()
        with with_ready(directory, hosts) as backend:
            wait_for(lambda b=backend, h=hosts: all(is_ready(b, one) for one in h), backend.explain)
            pause(backend, "pause", "source")
            (backend.source / "f").write_text("f")
            wait_for(
                lambda b=backend: (b.row("one")["lag_seconds"] or 0) > 2.5, backend.explain_status
            )
            assert all(is_ready(backend, host) for host in hosts)
            backend.hosts.append("new")
            backend.serve(*hosts, "new")
            wait_for(lambda b=backend: states(b).get("new") == "paused", backend.explain_status)
            assert not is_ready(backend, "new")
            pause(backend, "unpause", "source")
            wait_for(lambda b=backend: is_ready(b, "new"), backend.explain_status)
            assert (backend.site("new") / "f").read_text() == "f"


def test_a_paused_frontend_is_out_of_service_after_a_restart_if_others_hold_everything(tmp_path):
    with with_ready(tmp_path) as backend:
        wait_for(lambda: is_ready(backend, "one") and is_ready(backend, "two"), backend.explain)
        pause(backend, "pause", "one")
    (tmp_path / "source" / "missed").write_text("missed")
    with with_ready(tmp_path) as backend:
        wait_for(lambda: not is_ready(backend, "one"), backend.explain_status)
        wait_for(lambda: backend.row("one")["state"] == "paused", backend.explain_status)
        wait_for((backend.site("two") / "missed").exists, backend.explain_status)
        assert not (backend.site("one") / "missed").exists()
        pause(backend, "unpause", "one")
        wait_for(lambda: is_ready(backend, "one"), backend.explain_status)


def test_frontends_that_are_all_paused_stay_in_service_after_a_restart(tmp_path):
    with with_ready(tmp_path) as backend:
        wait_for(lambda: is_ready(backend, "one") and is_ready(backend, "two"), backend.explain)
        pause(backend, "pause", "one")
        pause(backend, "pause", "two")
    with with_ready(tmp_path) as backend:
        wait_for(
            lambda: [backend.row(host)["ready"] for host in ("one", "two")] == [True, True],
            backend.explain_status,
        )
        assert {row["state"] for row in backend.status()["frontends"]} == {"paused"}
