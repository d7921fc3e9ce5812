"""HTTP of a real daemon: each path in each state, a port in use, a reload, and deliveries in the metrics."""

import json
import signal
import socket
import urllib.error
import urllib.request

import pytest

pytest.importorskip("aiohttp")

from prometheus_client.parser import text_string_to_metric_families

from tests.support.sshd import needs_namespaces
from tests.support.waiting import FOREVER, wait_for
from tests.support.web_client import free_port


@pytest.fixture
def server(fleet):
    needs_namespaces()
    return fleet.add("http", "127.0.0.2")


def get(port, path):
    """Return status and text of an answer; (0, "") if nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def samples(port):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(get(port, "/metrics")[1])
        for sample in family.samples
    }


def reload(backend, **http):
    backend.tables["http"] = http
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)


def test_each_path_follows_the_state_of_the_daemon_and_a_reload_moves_it(make, server):
    port, other = free_port(), free_port()
    backend = make([server])
    backend.tables["http"] = {"listen": f"127.0.0.1:{port}"}
    backend.configure()
    backend.fill(files=10)
    backend.start()
    wait_for(lambda: backend.quiet([server]), backend.status, FOREVER)
    wait_for(lambda: get(port, "/readyz")[0] == 200, lambda: get(port, "/readyz?verbose"))

    tree = str(backend.source)
    assert ("replicator_delivery_seconds_count", tree) in samples(port)
    (backend.source / "upload").write_bytes(b"content")
    wait_for(
        lambda: samples(port).get(("replicator_delivery_seconds_count", tree), 0) >= 1,
        lambda: samples(port),
    )
    status = json.loads(get(port, "/api/v1/status")[1])
    assert (status["ok"], status["delivery"]["count"] >= 1) == (True, True)
    assert [row["state"] for row in status["frontends"]] == ["live"]
    assert "serving" in [event["event"] for event in status["events"]]
    assert samples(port)["replicator_ok",] == 1

    away = backend.source.rename(backend.directory / "away")
    wait_for(lambda: get(port, "/readyz")[0] == 503, lambda: get(port, "/readyz?verbose"))
    assert "is its volume mounted?" in get(port, "/readyz?verbose")[1]
    assert get(port, "/livez") == (200, "ok\n")
    wait_for(
        lambda: samples(port)["replicator_tree_state", tree, "halted"] == 1, lambda: samples(port)
    )
    away.rename(backend.source)
    wait_for(lambda: get(port, "/readyz")[0] == 200, lambda: get(port, "/readyz?verbose"))

    reload(backend, listen=f"127.0.0.1:{other}")
    wait_for(lambda: get(other, "/livez")[0] == 200, lambda: backend.log.read_text()[-2000:])
    wait_for(lambda: get(port, "/livez")[0] == 0, "the former port to be closed")
    reload(backend, listen="0.0.0.0:1")
    wait_for(lambda: backend.status()["config"]["error"], backend.status)
    assert samples(other)["replicator_config_last_reload_success",] == 0


def test_a_port_in_use_is_reported_and_replication_continues(make, server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        backend = make([server])
        backend.tables["http"] = {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        backend.configure()
        backend.fill(files=3)
        backend.start()
        wait_for(lambda: backend.quiet([server]), backend.status, FOREVER)
        error = wait_for(lambda: backend.status()["http"]["error"], backend.status)
        assert error.endswith("another program uses this address.")
        assert error in backend.log.read_text()
        shown = backend.run("status")
        assert (shown.returncode, error in shown.stdout) == (0, True)
