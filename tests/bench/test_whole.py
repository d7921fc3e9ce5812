"""Every end-to-end case runs once, tiny, over real SSH servers, and its check can fail."""

import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from bench import peers, whole
from bench.stage import Host, Stage, loopback
from bench.whole.world import check_equal
from tests.support.sshd import find_sshd, needs_namespaces
from tests.support.tools import missing

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def able():
    find_sshd()
    needs_namespaces()
    assert not loopback.missing()


def test_every_case_runs_and_is_right(able, bench, tmp_path):
    names = [case.name for case in whole.CASES]
    us = ["--contestant", "replicator", "--contestant", "rsync"]
    path = tmp_path / "rows.jsonl"
    done = bench("run", *names, *us, "--tiny", "--rounds", "1", "--json", str(path), seconds=500)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    ours = {row["case"]: row for row in rows if row["contestant"] == "replicator"}
    assert set(ours) == set(names)
    assert all(row["params"]["on"].startswith("loopback") for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    # 20 KB each: a peer's bytes can be counted, and ours too.
    assert ours["bootstrap-1"]["wire_bytes"] > 200 * 20_000


def test_every_contestant_does_what_it_is_for(able, bench):
    for name in ("lsyncd", "rsync", "unison", "syncthing"):
        if why := peers.missing(name):
            missing(why)
    done = bench("run", "latency", "bootstrap-1", "noop", "--tiny", "--rounds", "1", seconds=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {
        (case.name, who)
        for case in whole.CASES
        for who in case.contestants
        if case.name in {"latency", "bootstrap-1", "noop"}
    }
    assert {(row["case"], row["contestant"]) for row in rows} == expected
    lsyncd = next(row for row in rows if row["contestant"] == "lsyncd")
    assert lsyncd["seconds"] > 1  # as it comes it waits for 15
    assert lsyncd["ratio_of"] > 1


def test_nothing_is_left_on_a_frontend_after_a_case(able, bench, tmp_path):
    with loopback.frontends(1) as stage:
        (tmp_path / "stage.json").write_text(json.dumps(stage.dump()))
        keep = ["sh", "-c", f"mkdir {stage.target}/of-somebody-else"]
        subprocess.run(stage.ssh(stage.hosts[0], *keep), check=True)
        where = ["--on", str(tmp_path / "stage.json"), "--contestant", "rsync"]
        done = bench("run", "bootstrap-1", "--tiny", "--rounds", "2", *where)
        assert len(done.stdout.splitlines()) == 2, done.stderr
        listed = subprocess.run(
            stage.ssh(stage.hosts[0], "ls", stage.target), check=True, capture_output=True
        )
    assert listed.stdout == b"of-somebody-else\n"


def test_a_frontend_with_another_content_is_an_error(able, tmp_path):
    place = tmp_path / "place"
    (place / "source").mkdir(parents=True)
    (place / "source" / "photo").write_bytes(b"right")
    with loopback.frontends(2) as stage:
        params = {"frontends": 2, "stage": stage.dump()}
        for host, content in zip(stage.hosts, (b"right", b"wrong"), strict=True):
            write = f"mkdir -p {stage.target}/place && cat >{stage.target}/place/photo"
            subprocess.run(stage.ssh(host, "sh", "-c", write), input=content, check=True)
        with pytest.raises(AssertionError, match="another content"):
            check_equal("replicator", place, params)
        check_equal("replicator", place, {**params, "frontends": 1})


def test_each_frontend_has_a_disk_of_its_own_and_none_is_left(able):
    with loopback.frontends(2) as stage:
        one, two = stage.hosts
        subprocess.run(stage.ssh(one, "touch", f"{stage.target}/here"), check=True)
        listed = subprocess.run(stage.ssh(two, "ls", stage.target), check=True, capture_output=True)
        assert listed.stdout == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((one.address, one.port), timeout=1)


def test_a_stage_survives_json():
    stage = Stage("somewhere", (Host("10.0.0.1", 2222, "deploy"),), "key", "hosts", "/srv", "eth0")
    assert Stage.load(json.loads(json.dumps(stage.dump()))) == stage


def test_a_distance_holds_every_byte_back_both_ways():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo():
            there, _ = server.accept()
            with there:
                while data := there.recv(1 << 16):
                    there.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        where = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "bench.stage.distance", "50", where]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as proxy:
            port = int(proxy.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)) as here:
                begun = time.monotonic()
                here.sendall(b"x" * 100_000)
                here.shutdown(socket.SHUT_WR)
                back = b"".join(iter(lambda: here.recv(1 << 16), b""))
                assert back == b"x" * 100_000
                assert time.monotonic() - begun >= 0.1
            proxy.stdin.close()
