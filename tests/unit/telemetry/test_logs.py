"""The log: the event first, and priorities if journald reads it."""

import json
import os
import subprocess
import sys

from replicator.telemetry import journal

SCRIPT = """
import logging, os, sys
status = os.fstat(2)
if sys.argv[1] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
import structlog
from replicator.telemetry import logs
logs.configure("debug", sys.argv[2])
log = structlog.get_logger()
log.info("deleted", path="f", tree="/srv")
log.warning("not replicated", host="web1")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("internal error", host="web1")
log.debug("sent", path="f")
logging.getLogger("library").error("two\\nlines")
"""


def lines(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], check=True, capture_output=True, text=True
    )
    return done.stderr.splitlines()


def test_the_event_comes_first_and_the_time_last():
    first = lines("pipe", "json")[0]
    assert list(json.loads(first)) == ["event", "level", "path", "tree", "timestamp"]
    assert first.startswith('{"event": "deleted", "level": "info", "path": "f"')


def test_no_priorities_unless_the_journal_reads():
    assert not any(line.startswith("<") for line in lines("pipe", "json"))


def test_each_line_for_the_journal_has_its_priority():
    found = lines("journal", "json")
    assert [line[:3] for line in found] == ["<6>", "<4>", "<3>", "<7>", "<3>", "<3>"]
    assert json.loads(found[0][3:])["event"] == "deleted"
    assert found[-2:] == ["<3>two", "<3>lines"]


def test_every_line_of_a_traceback_has_a_priority():
    found = lines("journal", "text")
    assert len(found) > 8
    assert all(line.startswith("<") for line in found)
    assert "<3>ZeroDivisionError: division by zero" in found


def test_another_stream_is_not_the_journal(tmp_path):
    with (tmp_path / "log").open("w") as file:
        status = os.fstat(file.fileno())
        right = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert journal.is_journal(file.fileno(), right)
        assert not journal.is_journal(file.fileno(), {"JOURNAL_STREAM": "8:1"})
        assert not journal.is_journal(file.fileno(), {})
    assert not journal.is_journal(file.fileno() if not file.closed else -1, right)
