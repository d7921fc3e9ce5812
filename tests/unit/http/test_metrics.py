"""The metrics: complete, bounded, and named by the conventions of Prometheus."""

import re
from collections import Counter

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from replicator.cli.status import DOWN
from replicator.http.metrics import render
from tests.support.web_client import BASE, status

UNUSUAL = re.compile(r"milli|micro|_ms$|_kb|_mib|minutes|percent|_gauge|_counter|_created")

DELIVERY = {
    "trees": [{"tree": "/srv/www", "buckets": [[0.01, 5], [1.0, 7]], "count": 8, "seconds": 3.5}]
}


def families(**what):
    return list(text_string_to_metric_families(render(status(**what)).decode()))


def samples(**what):
    """Return {name{labels}: value} of all samples."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families(**what)
        for sample in family.samples
    }


def lint(found):
    """Yield what `promtool check metrics`, or the naming conventions, would complain about."""
    found = [family for family in found if not family.name.startswith("process_")]
    for family in found:
        counter = family.type == "counter"
        if not re.fullmatch(r"replicator_[a-z_]+[a-z]", family.name):
            yield f"{family.name}: name"
        if not family.documentation.endswith("."):
            yield f"{family.name}: help text"
        if UNUSUAL.search(family.name):
            yield f"{family.name}: base units, and no type, in names"
        if any(sample.name.endswith("_total") != counter for sample in family.samples):
            yield f"{family.name}: _total is for counters, and for all of them"
    samples = [sample for family in found for sample in family.samples]
    yield from (
        f"{one.name}: unbounded label"
        for one in samples
        if set(one.labels) & {"path", "file", "error"}
    )
    counts = Counter((one.name, *one.labels.items()) for one in samples)
    yield from (f"{series}: twice" for series, count in counts.items() if count > 1)


def test_a_hook_that_runs_has_neither_succeeded_nor_failed_so_that_no_counter_decreases():
    row = {"event": "delivered", "runs": 3, "failures": 1, "running_seconds": 0.5}
    running = samples(hooks=[row])
    assert running["replicator_hook_runs_total", "delivered", "success"] == 1
    ended = samples(hooks=[{**row, "failures": 2, "running_seconds": None}])
    assert ended["replicator_hook_runs_total", "delivered", "success"] == 1
    assert ended["replicator_hook_runs_total", "delivered", "failure"] == 2


def test_names_follow_the_conventions_and_no_sample_occurs_twice():
    found = families(
        frontends=[{"host": "a"}, {"host": "b", "dirty": 4, "ready": True}], delivery=DELIVERY
    )
    assert len(found) > 30
    assert list(lint(found)) == []


def test_the_lint_finds_what_it_should():
    text = (
        "# HELP replicator_x_ms Time\n# TYPE replicator_x_ms gauge\nreplicator_x_ms 1\n"
        '# HELP other_total No.\n# TYPE other_total gauge\nother_total{path="/a"} 1\nother_total{path="/a"} 1\n'
    )
    assert len(list(lint(text_string_to_metric_families(text)))) >= 5


def test_a_frontend_is_labelled_by_instance_or_address():
    found = samples(
        frontends=[
            {"host": "10.0.0.1", "instance_id": "i-1"},
            {"host": "10.0.0.2", "port": 2222, "user": "deploy"},
            {"host": "fe80::1", "port": 22},
        ]
    )
    named = {key[1] for key in found if key[0] == "replicator_frontend_dirty_paths"}
    assert named == {"i-1", "deploy@10.0.0.2:2222", "[fe80::1]:22"}


def test_two_addresses_of_one_instance_have_series_of_their_own():
    found = families(
        frontends=[{"host": "a", "instance_id": "i-1"}, {"host": "b", "instance_id": "i-1"}]
    )
    assert list(lint(found)) == []


def test_a_frontend_that_left_has_no_series():
    both = samples(frontends=[{"host": "stays"}, {"host": "leaves"}])
    one = samples(frontends=[{"host": "stays"}])
    assert [key for key in both if "leaves" in key]
    assert not [key for key in one if "leaves" in key]


def test_what_is_unknown_has_no_sample_and_is_not_zero():
    found = samples(
        frontends=[{"host": "a", "dirty": None, "lag_seconds": None, "in_sync_at": None}],
        tree={"held_deletions": None},
        inotify={"watches": 3, "limit": None},
        provider={"answered": False, "answered_at": None},
    )
    absent = {
        "replicator_frontend_dirty_paths",
        "replicator_frontend_oldest_dirty_timestamp_seconds",
        "replicator_frontend_last_in_sync_timestamp_seconds",
        "replicator_frontend_ready",
        "replicator_tree_held_deletions",
        "replicator_inotify_watches_limit",
        "replicator_discovery_last_success_timestamp_seconds",
    }
    assert absent.isdisjoint({key[0] for key in found})
    assert {
        key[0] for key in samples(frontends=[{"host": "a", "dirty": 2, "ready": True}])
    } >= absent


def test_states_without_a_frontend_are_exported_as_zero():
    found = samples(frontends=[{"state": "degraded"}, {"host": "b", "state": "degraded"}], ok=False)
    assert found["replicator_frontends", "degraded"] == 2
    assert found["replicator_frontends", "live"] == found["replicator_frontends", "retrying"] == 0
    assert found["replicator_ok",] == 0
    assert found["replicator_frontend_state", "10.0.0.1", "degraded"] == 1


def test_refused_changes_are_counted_by_frontend_and_reason():
    refusals = {"denied": 3, "no_space": 1}
    found = samples(frontends=[{"host": "a", "refusals": refusals}, {"host": "b", "refusals": {}}])
    refused = {key[1:]: value for key, value in found.items() if "refused" in key[0]}
    assert refused == {("a", "denied"): 3, ("a", "no_space"): 1}


def test_launches_and_durations_of_bootstraps_are_exported():
    found = samples()
    assert found["replicator_launches_total", "in_service"] == 2
    assert found["replicator_launches_total", "abandoned"] == 0
    assert found["replicator_bootstrap_duration_seconds_bucket", "60.0"] == 4
    assert found["replicator_bootstrap_duration_seconds_bucket", "+Inf"] == 5
    assert found["replicator_bootstrap_duration_seconds_sum",] == 90.5


def test_the_results_of_verifications_are_exported_and_none_for_a_frontend_without_one():
    verified = {"succeeded_at": 1500.5, "differing": 3, "paths": ["a"], "found": 7, "error": ""}
    failed = {"succeeded_at": 0, "differing": 0, "paths": [], "found": 0, "error": "it is queued"}
    found = samples(
        frontends=[
            {"host": "a", "verified": verified},
            {"host": "b", "verified": failed},
            {"host": "c"},
        ],
        verify={"schedule": "daily 03:30", "interval_seconds": 86400, "error": ""},
    )
    assert found["replicator_verify_interval_seconds",] == 86400
    assert found["replicator_verify_schedule_failing",] == 0
    assert {key: value for key, value in found.items() if "verify" in key[0] and len(key) > 1} == {
        ("replicator_verify_success", "a"): 1,
        ("replicator_verify_last_success_timestamp_seconds", "a"): 1500.5,
        ("replicator_verify_differing_paths", "a"): 3,
        ("replicator_verify_differences_total", "a"): 7,
        ("replicator_verify_success", "b"): 0,
        ("replicator_verify_differing_paths", "b"): 0,
        ("replicator_verify_differences_total", "b"): 0,
    }


def test_the_base_has_the_time_at_which_it_was_up_to_date_and_none_without_one():
    assert not [name for name, *_ in samples() if name.startswith("replicator_base")]
    found = samples(base=BASE)
    assert found["replicator_base_last_success_timestamp_seconds", "/srv/www"] == 1940.0
    assert found["replicator_base_consecutive_failures",] == 0
    assert found["replicator_base_requests_total",] == 12
    tree = BASE["trees"][0]
    never = BASE | {"failures": 3, "prune_error": "denied", "trees": [tree | {"current_at": None}]}
    found = samples(base=never)
    assert ("replicator_base_last_success_timestamp_seconds", "/srv/www") not in found
    assert found["replicator_base_consecutive_failures",] == 3
    assert found["replicator_base_tree_failing", "/srv/www"] == bool(tree["error"])
    assert found["replicator_base_prune_success",] == 0
    assert not list(lint(families(base=BASE)))


def test_times_are_timestamps():
    found = samples(frontends=[{"host": "a", "dirty": 2, "lag_seconds": 30.5}])
    assert found["replicator_frontend_oldest_dirty_timestamp_seconds", "a"] == 1969.5


def test_the_histogram_of_deliveries_is_cumulative_and_ends_at_infinity():
    found = samples(delivery=DELIVERY)
    assert found["replicator_delivery_seconds_bucket", "+Inf", "/srv/www"] == 8
    assert found["replicator_delivery_seconds_count", "/srv/www"] == 8
    assert found["replicator_delivery_seconds_sum", "/srv/www"] == 3.5


def test_runs_of_hooks_are_counted_by_event():
    row = {"event": "delivered", "runs": 5, "failures": 2, "running_seconds": None}
    found = samples(hooks=[row, row | {"runs": 1, "failures": 0}, row | {"event": "tree-halted"}])
    assert found["replicator_hook_runs_total", "delivered", "success"] == 4
    assert found["replicator_hook_runs_total", "delivered", "failure"] == 2
    assert found["replicator_hook_runs_total", "failure", "tree-halted"] == 2


def test_a_hostile_name_stays_inside_its_label():
    hostile = 'x"} 1\nreplicator_ok 1\n# \\'
    found = samples(tree={"source": hostile}, ok=False)
    assert found["replicator_ok",] == 0
    assert found["replicator_tree_entries", hostile] == 12


def test_a_daemon_that_does_not_answer_is_down():
    (family,) = text_string_to_metric_families(DOWN.decode())
    assert [(sample.name, sample.value) for sample in family.samples] == [("replicator_up", 0.0)]
    assert samples()["replicator_up",] == 1
