"""How long deliveries take: buckets are cumulative, percentiles are of the last ten minutes."""

import pytest

from replicator.engine.control.delivery_times import SLOT, SLOTS, DeliveryTimes
from replicator.engine.events import DELIVERED, FRONTEND_LIVE, Event

NOW = 1_000_000.0


@pytest.fixture
def times(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    return DeliveryTimes(lambda: [b"/srv", b"/var"])


def deliver(times, *seconds, at=NOW, tree=b"/srv"):
    for one in seconds:
        times.record(Event(name=DELIVERED, tree=tree, path=b"f", seconds=one, at=at))


def test_each_tree_has_a_cumulative_histogram(times):
    deliver(times, 0.0004, 0.001, 0.0011, 0.3, 61.0)
    deliver(times, 0.02, tree=b"/var")
    first, second = times.describe()["trees"]
    buckets = dict(map(tuple, first["buckets"]))
    assert (buckets[0.001], buckets[0.0025], buckets[0.25], buckets[0.5], buckets[60.0]) == (
        2,
        3,
        3,
        4,
        4,
    )
    assert (first["count"], first["seconds"]) == (5, 61.3025)
    assert (second["tree"], second["count"]) == ("/var", 1)


def test_a_tree_has_a_histogram_from_its_start_to_its_end():
    trees = [b"/srv", b"/var"]
    times = DeliveryTimes(lambda: trees)

    def counts():
        return {row["tree"]: row["count"] for row in times.describe()["trees"]}

    assert counts() == {"/srv": 0, "/var": 0}
    deliver(times, 0.1)
    assert counts() == {"/srv": 1, "/var": 0}
    trees[:] = [b"/var"]
    assert counts() == {"/var": 0}
    trees[:] = [b"/srv"]
    assert counts() == {"/srv": 0}, "it is another tree"


@pytest.mark.parametrize("seconds", [0.0003, 0.005, 0.0123, 1.7, 45.0, 4000.0])
def test_a_percentile_is_at_most_a_tenth_too_high_and_never_too_low(times, seconds):
    deliver(times, *[seconds] * 10)
    median = times.describe()["p50"]
    assert max(seconds, 0.0005) * 0.995 <= median <= max(seconds, 0.0005) * 1.11


def test_one_slow_delivery_of_a_hundred_shows_in_the_99th_percentile_only_if_it_is_more(times):
    deliver(times, *[0.005] * 99, 2.0)
    assert times.describe()["p99"] < 0.006
    deliver(times, 2.0)
    assert times.describe()["p99"] > 1.9
    assert times.describe()["p50"] < 0.006


def test_the_recent_past_has_a_value_for_each_ten_seconds_and_ends_after_ten_minutes(times):
    deliver(times, 9.0, at=NOW - SLOT * SLOTS - 2 * SLOT)
    deliver(times, 0.2, at=NOW - 25)
    deliver(times, 0.1, 0.1, at=NOW)
    recent = times.describe()["recent"]
    assert [(one["count"], round(one["p50"], 1)) for one in recent] == [(1, 0.2), (2, 0.1)]
    assert times.describe()["count"] == 3


def test_memory_is_bounded(times):
    for n in range(10 * SLOTS):
        deliver(times, 0.1 + n, at=NOW + n * SLOT)
    assert len(times.describe()["recent"]) == SLOTS


def test_other_events_are_no_deliveries(times):
    times.record(Event(name=FRONTEND_LIVE, frontend="a"))
    described = times.describe()
    assert [row["count"] for row in described.pop("trees")] == [0, 0]
    assert described == {"recent": [], "count": 0, "p50": None, "p99": None}
