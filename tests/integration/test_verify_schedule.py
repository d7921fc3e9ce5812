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
"""Seconds from the start of the daemon until its clock shows the configured time, in the first attempt."""


@pytest.fixture
def servers(fleet):
    needs_namespaces()
    return [fleet.add(f"verify{n}", f"127.0.4.{n}") for n in (1, 2)]


def zone(soon):
    """Return a time zone in which it is 03:00 in `soon` seconds; TZ counts positively west of Greenwich."""
    west = (int(time.time()) - 3 * 3600 + soon) % 86400
    return f"XXX{west // 3600:02}:{west // 60 % 60:02}:{west % 60:02}"


def is_tomorrow(backend):
    status = backend.status()
    return (status["verify"]["next"] or 0) > status["time"] + 12 * 3600


def start_and_verify(backend, *, reload=False, **verify):
    """Start the daemon shortly before its time, and return when it has verified all frontends; `reload`: it gets the schedule by SIGHUP.

    On a busy machine the daemon may start too late, or its frontends connect too late: then again, with more time.
    """
    for attempt in range(6):
        soon = SOON << attempt
        backend.env, began = {"TZ": zone(soon)}, time.time()
        verify["schedule"] = "daily 03:00"
        configure(backend, **({} if reload else verify))
        backend.start()
        if reload:
            configure(backend, **verify)
            backend.daemon.send_signal(signal.SIGHUP)
        # Before its time, `next` is in a few seconds; after it, or if it was missed, tomorrow.
        wait_for(lambda: is_tomorrow(backend), backend.status, FOREVER + soon)
        if all(row and row["succeeded_at"] > began for row in verified(backend)):
            return
        backend.stop()
    raise AssertionError(f"not verified: {backend.log.read_text()[-2000:]}")


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
    configure(backend)
    backend.start()
    backend.wait_until_equal()
    stealthily(backend.copy(servers[0]) / "big.bin", b"somebody was here")
    assert verified(backend) == [None, None]
    assert backend.status()["ok"]

    backend.stop()
    start_and_verify(backend, rate="1GiB/s")
    rows = verified(backend)
    assert [(row["differing"], row["paths"], row["error"]) for row in rows] == [
        (1, ["big.bin"], ""),
        (0, [], ""),
    ]
    assert [row["state"] for row in backend.status()["frontends"]] == ["degraded", "live"]
    assert not backend.status()["ok"]
    assert "replicator verify --repair" in backend.run("status").stdout
    assert ["big.bin"] in [line["samples"] for line in lines(backend, "frontend differs")]
    told = backend.directory / "told"
    wait_for(told.exists, backend.status, FOREVER)
    assert json.loads(told.read_text())["frontend"] == servers[0].address

    backend.stop()  # what was found outlasts the daemon
    configure(backend)
    backend.start()
    wait_for(lambda: backend.row(servers[0])["state"] == "degraded", backend.status, FOREVER)

    backend.stop()
    start_and_verify(backend, reload=True, repair=True)
    backend.wait_until_equal()
    wait_for(lambda: backend.status()["ok"], backend.status, FOREVER)
    assert verified(backend)[0]["found"] >= 2


def test_a_malformed_schedule_is_refused_in_one_sentence(backend):
    configure(backend, schedule="at night")
    done = backend.run("serve")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert "verify.schedule" in line
    assert "'daily 03:30'" in line
