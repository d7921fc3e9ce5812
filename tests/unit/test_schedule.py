"""Schedules: which texts are accepted, and the times that they name in local time."""

import time
from datetime import UTC, datetime

import pytest

from replicator.config import parse
from replicator.config.schedule import parse_schedule
from replicator.errors import ConfigError


@pytest.fixture
def berlin(monkeypatch):
    """Central European time: UTC+1, in summer UTC+2."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def following(schedule, after, count=1):
    """Return the next times after one, in UTC."""
    at, found = utc(after), []
    for _ in range(count):
        at = parse_schedule("verify.schedule", schedule).next(at)
        found.append(datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("hourly", "2026-11-27T10:00", ["11-27 11:00", "11-27 12:00"]),
        ("hourly", "2026-11-27T10:59:59", ["11-27 11:00", "11-27 12:00"]),
        ("daily 03:30", "2026-11-27T02:29:59", ["11-27 02:30", "11-28 02:30"]),
        ("daily 03:30", "2026-11-27T02:30", ["11-28 02:30", "11-29 02:30"]),
        ("daily 0:05", "2026-12-31T23:00", ["12-31 23:05", "01-01 23:05"]),
        ("weekly sun 03:30", "2026-11-27T10:00", ["11-29 02:30", "12-06 02:30"]),
        ("Weekly  Friday 12:00", "2026-11-27T10:00", ["11-27 11:00", "12-04 11:00"]),
        ("monthly 1 03:30", "2026-11-27T10:00", ["12-01 02:30", "01-01 02:30"]),
        ("monthly 28 23:59", "2026-02-28T22:59", ["03-28 22:59", "04-28 21:59"]),
    ],
)
def test_the_times_are_those_of_the_local_clock(berlin, schedule, after, expected):
    assert following(schedule, after, 2) == expected


def test_when_summer_time_begins_a_time_that_is_skipped_counts_an_hour_later(berlin):
    """On 29 March 2026 the hour from 02:00 to 03:00 does not exist."""
    expected = ["03-28 01:30", "03-29 01:30", "03-30 00:30"]
    assert following("daily 02:30", "2026-03-27T12:00", 3) == expected


def test_when_summer_time_ends_a_time_that_occurs_twice_counts_once(berlin):
    """On 25 October 2026 the hour from 02:00 to 03:00 occurs twice."""
    expected = ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    assert following("daily 02:30", "2026-10-23T12:00", 3) == expected


@pytest.mark.parametrize("day", ["2026-03-29T00:15", "2026-10-24T23:15"])
def test_each_hour_counts_once_when_the_clock_changes(berlin, day):
    hours = following("hourly", day, 5)
    first = int(hours[0][6:8])
    assert [int(hour[6:8]) for hour in hours] == [(first + n) % 24 for n in range(5)]


@pytest.mark.parametrize(
    "wrong",
    [
        "daily", "daily 3", "daily 24:00", "daily 03:60", "daily 03:30 pm", "at 03:30", "03:30", "weekly 03:30",
        "weekly someday 03:30", "weekly su 03:30", "monthly 0 03:30", "monthly 29 03:30", "monthly 03:30",
        "hourly 03:30", "30 3 * * *", "daily \u0663:30", "daily 03:30\x00",
    ],
)  # fmt: skip
def test_a_malformed_schedule_is_refused_with_what_is_expected(tmp_path, wrong):
    with pytest.raises(ConfigError, match="daily 03:30") as caught:
        parse({"tree": [{"source": "/a"}], "verify": {"schedule": wrong}}, base=tmp_path)
    assert str(caught.value).startswith("verify.schedule: expected")


def test_the_rate_is_read_and_may_be_unlimited(tmp_path):
    def rate(text):
        tables = {"tree": [{"source": "/a"}], "verify": {"rate": text}}
        return parse(tables, base=tmp_path).verify.bytes_per_second

    assert [rate("2MiB/s"), rate("0.1B/s"), rate("")] == [2 << 20, 1, 0]
    with pytest.raises(ConfigError, match=r"verify\.rate: expected a rate"):
        rate("fast")
