"""The log in normal operation: each deletion, no warning about what needs no operator, and each path at debug level."""

import os
import time

import pytest
import structlog
from structlog.testing import capture_logs

from tests.support.backend import Backend
from tests.support.waiting import wait_for


@pytest.fixture
def lines():
    with capture_logs() as captured:
        yield captured
    structlog.reset_defaults()


def warnings(lines):
    return [line for line in lines if line["log_level"] in ("warning", "error", "critical")]


def deleted(lines, **named):
    logged = [
        line for line in lines if line["event"] == "deleted" and named.items() <= line.items()
    ]
    return sorted(line["path"] for line in logged)


def test_a_slow_upload_logs_no_warning(tmp_path, lines):
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        with (backend.source / "upload").open("wb") as file:
            # A file that is open for writing is read after `settle.max_wait` nevertheless.
            while not (backend.site("one") / "upload").exists():
                file.write(os.urandom(2000))
                file.flush()
                rows = backend.status()["frontends"]
                assert {row["state"] for row in rows} == {"live"}
                assert [row["problems"] for row in rows] == [[], []]
                time.sleep(
                    0.05
                )  # the pace of the upload: 40 KB/s; a file that never stands still could not be read
        backend.wait_until_equal()
    assert warnings(lines) == []


def test_live_changes_during_a_bootstrap_log_no_warning(tmp_path, lines):
    for number in range(4000):
        path = tmp_path / "source" / f"d{number % 40:02}" / "e" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000))
    with Backend(tmp_path, bootstrap={"bandwidth": "4MiB/s", "concurrency": 2}) as backend:
        wait_for(lambda: {r["state"] for r in backend.status()["frontends"]} & {"bootstrapping"}, backend.status)  # fmt: skip
        for number in range(400):
            (backend.source / f"d{39 - number % 40:02}" / "e" / f"live-{number}").write_text("live")
        backend.wait_until_equal()
    assert warnings(lines) == []


def test_each_deletion_is_in_the_log_and_none_counts_as_a_file_that_was_sent(tmp_path, lines):
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "stays").write_text("stays")
    for number in range(60):
        (tmp_path / "source" / "d" / f"{number:02}").write_text("x")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        before = backend.row("one")["files_sent"]
        # All at once: when it is emptied slowly, its own time is sent meanwhile, and counts.
        (backend.source / "d").rename(tmp_path / "removed")
        backend.wait_until_equal()
        row = backend.row("one")
        assert (row["files_sent"] - before, row["deletions_sent"]) == (0, 61)
        names = sorted(["d", *(f"d/{number:02}" for number in range(60))])
        tree, reason = str(backend.source), "it was removed on the backend"
        assert deleted(lines, tree=tree, reason=reason) == names
        sent = [line for line in lines if line["event"] == "sent" and line["host"] == "two"]
        assert {line["log_level"] for line in sent} == {"debug"}
        assert {"d/00", "d/59"} <= {line["path"] for line in sent}
        (backend.site("one") / "stray").write_text("not on the backend")
        backend.connector.kill("one")
        wait_for(lambda: not (backend.site("one") / "stray").exists(), backend.status)
    assert deleted(lines, host="one", reason="it is not on the backend") == ["stray"]


def test_each_batch_is_summed_up(tmp_path, lines):
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        for number in range(20):
            (backend.source / str(number)).write_text("x")
        backend.wait_until_equal()
        for number in range(20):
            (backend.source / str(number)).unlink()
        backend.wait_until_equal()
    batches = [line for line in lines if line["event"] == "published"]
    assert {line["log_level"] for line in batches} == {"info"}
    assert {line["tree"] for line in batches} == {str(backend.source)}
    assert sum(line["changed"] for line in batches) >= 20
    assert sum(line["deleted"] for line in batches) == 20
