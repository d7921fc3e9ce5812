"""Verification on a schedule by a real daemon: it finds what nothing else does, reports or repairs it, and follows a reload."""

import json
import os
import signal
import sys
import time

import pytest

from tests.support.sshd import needs_namespaces
from tests.support.waiting import FOREVER, wait_for

RECORD = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read().strip() + '\\n')"
SOON = 3
"""Seconds until the daemon's clock shows the configured time."""


@pytest.fixture
def servers(fleet):
    needs_namespaces()
    return [fleet.add(f"verify{n}", f"127.0.4.{n}") for n in (1, 2)]


def zone_in_which_it_is_soon(hour):
    """Return a time zone in which the local time is SOON seconds before a full hour; TZ counts positively west of Greenwich."""
    west = (int(time.time()) - hour * 3600 + SOON) % 86400
    return f"XXX{west // 3600:02}:{west // 60 % 60:02}:{west % 60:02}"


def stealthily(path, content):
    """Change a file's content, but neither its size nor its time."""
    before = path.stat()
    path.write_bytes(content[: before.st_size].ljust(before.st_size, b"!"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def verified(backend):
    return [row["verified"] for row in backend.status()["frontends"]]


def lines(backend, event):
    found = [json.loads(line) for line in backend.log.read_text().splitlines() if line[:1] == "{"]
    return [line for line in found if line["event"] == event]


@pytest.fixture
def backend(make, servers):
    """A backend with two frontends, and the command of a hook that writes down what it gets."""
    backend = make(servers)
    backend.fill(files=20)
    backend.hook = [sys.executable, "-c", RECORD, str(backend.directory / "told")]
    return backend


def configure(backend, **verify):
    backend.tables["verify"] = verify
    backend.configure()
    hook = {"event": "verify-differs", "command": backend.hook, "batch": 0.05}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in hook.items())
    backend.config.write_text(backend.config.read_text() + f"\n[[hook]]\n{text}")


def test_a_scheduled_verification_reports_and_after_a_reload_repairs(backend, servers):
    backend.env = {"TZ": zone_in_which_it_is_soon(3)}
    configure(backend)
    backend.start()
    backend.wait_until_equal()
    stealthily(backend.copy(servers[0]) / "big.bin", b"somebody was here")
    assert verified(backend) == [None, None]
    assert backend.status()["ok"]

    backend.stop()
    backend.env = {"TZ": zone_in_which_it_is_soon(3)}
    configure(backend, schedule="daily 03:00", rate="1GiB/s")
    backend.start()
    wait_for(lambda: all(verified(backend)), lambda: (backend.status()["verify"], backend.log.read_text()[-2000:]), FOREVER)  # fmt: skip
    rows = verified(backend)
    assert [(row["differing"], row["paths"], row["error"]) for row in rows] == [
        (1, ["big.bin"], ""),
        (0, [], ""),
    ]
    assert [row["state"] for row in backend.status()["frontends"]] == ["degraded", "live"]
    assert not backend.status()["ok"]
    assert "replicator verify --repair" in backend.run("status").stdout
    assert [line["samples"] for line in lines(backend, "frontend differs")] == [["big.bin"]]
    told = backend.directory / "told"
    wait_for(told.exists, backend.status, FOREVER)
    assert json.loads(told.read_text())["frontend"] == servers[0].address

    backend.stop()  # what was found outlasts the daemon
    configure(backend)
    backend.start()
    wait_for(lambda: backend.row(servers[0])["state"] == "degraded", backend.status, FOREVER)

    backend.stop()
    backend.env = {"TZ": zone_in_which_it_is_soon(3)}
    backend.start()
    configure(backend, schedule="daily 03:00", repair=True)
    backend.daemon.send_signal(signal.SIGHUP)
    backend.wait_until_equal()
    wait_for(lambda: backend.status()["ok"], backend.status, FOREVER)
    assert verified(backend)[0]["found"] == 2


def test_a_malformed_schedule_is_refused_in_one_sentence(backend):
    configure(backend, schedule="at night")
    done = backend.run("serve")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert "verify.schedule" in line
    assert "'daily 03:30'" in line
