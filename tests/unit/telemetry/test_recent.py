"""The latest log events, for status."""

import pytest

from replicator.telemetry.recent import KEPT, LONGEST, Recent


@pytest.fixture
def recent():
    return Recent()


def log(recent, event, level="info", **more):
    line = {"event": event, "level": level, **more}
    assert recent(None, level, line) is line


def test_the_latest_events_are_kept_in_order_with_what_they_are_about(recent):
    for number in range(KEPT + 10):
        log(recent, "frontend", host=f"web{number}", state="live", timestamp="now")
    events = recent.latest()
    assert len(events) == KEPT
    assert (events[0]["about"], events[-1]["event"]) == (
        {"host": "web10", "state": "live"},
        "frontend",
    )
    assert [one["number"] for one in events] == list(range(11, KEPT + 11))


def test_the_output_of_hooks_is_left_out(recent):
    log(recent, "hook output", hook="/etc/hook", line="POST https://chat.example.com/s3cret")
    assert [one["about"] for one in recent.latest()] == [{"hook": "/etc/hook"}]


def test_equal_events_in_a_row_are_one_so_that_a_mass_deletion_hides_nothing(recent):
    log(recent, "halted", "error", tree="/srv")
    for number in range(500):
        log(recent, "deleted", tree="/srv", paths=[f"f{number}"])
    assert [(one["event"], one["count"]) for one in recent.latest()] == [
        ("halted", 1),
        ("deleted", 500),
    ]
    assert recent.latest()[-1]["about"]["paths"] == "f499"
    log(recent, "deleted", tree="/var", paths=["g"])
    assert recent.latest()[-1]["count"] == 1


def test_long_values_are_cut_and_tracebacks_left_out(recent):
    log(
        recent,
        "deleted",
        paths=[f"f{n}" for n in range(200)],
        reason="x" * 1000,
        exc_info=True,
        exception="Traceback",
    )
    about = recent.latest()[0]["about"]
    assert about["paths"] == "f0, f1, f2 and 197 more"
    assert len(about["reason"]) == LONGEST + 1
    assert about.keys() == {"paths", "reason"}


def test_debug_events_are_not_kept(recent):
    log(recent, "sent", "debug", path="f")
    assert recent.latest() == []
