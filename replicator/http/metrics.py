"""The status as Prometheus metrics, in the text format: for `/metrics`, and for `status --textfile`.

Everything is made from one status, so that a frontend that has left is in no sample, and labels are bounded by the fleet: no label
holds the path of a file. Times are Unix timestamps; what is unknown has no sample.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TREE_STATES = ("scanning", "watching", "paused", "halted")

FRONTEND_STATES = (
    "connecting", "queued", "bootstrapping", "live", "degraded", "halted", "paused", "retrying",
)  # fmt: skip
"""All states of frontends, of which those without a frontend are exported as 0."""


def render(status: dict[str, Any]) -> bytes:
    """Return all metrics.

    Args:
        status: the daemon's status, with its `time`.
    """
    registry = CollectorRegistry()
    registry.register(_Status(status))
    if "pid" in status:
        ProcessCollector(pid=lambda: status["pid"], registry=registry)
    return generate_latest(registry)


class _Status(Collector):
    """Collects the metrics of one status."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Return nothing: the registry need not look for duplicate names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        status = self._status
        yield from _daemon(status)
        yield from _fleet(status)
        yield from _frontends(status)
        yield from _traffic(status)
        yield from _trees(status)
        yield from _discovery(status)
        yield from _delivery(status)
        yield from _hooks(status)
        yield from _verification(status)
        yield from _base(status)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"replicator_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"replicator_{name}", text, labels=labels)


def _value(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"replicator_{name}", text, value=value)


def _daemon(status: dict[str, Any]) -> Iterator[Metric]:
    build = _gauge("build_info", "Version of the daemon; always 1.", "version", "python")
    build.add_metric([status["version"], platform.python_version()], 1)
    yield build
    yield _value("up", "1 if the daemon answers.", 1)
    yield _value("ok", "1 if all frontends are known to hold what the sources hold.", status["ok"])
    if reload := status.get("config"):
        yield _value(
            "config_last_reload_success",
            "1 if the configuration was read without an error the last time.",
            not reload["error"],
        )
        yield _value(
            "config_last_reload_timestamp_seconds",
            "When the configuration was read the last time.",
            reload["read_at"],
        )
    if inotify := status.get("inotify"):
        yield _value("inotify_watches", "Watched directories.", inotify["watches"])
        if inotify["limit"] is not None:
            yield _value(
                "inotify_watches_limit",
                "Watches that the kernel grants to all programs of the user.",
                inotify["limit"],
            )


def _fleet(status: dict[str, Any]) -> Iterator[Metric]:
    states = Counter(row["state"] for row in status["frontends"])
    frontends = _gauge("frontends", "Frontends, by state.", "state")
    for state in dict.fromkeys([*FRONTEND_STATES, *states]):
        frontends.add_metric([state], states[state])
    yield frontends
    queued = sum(row["queue_position"] is not None for row in status["frontends"])
    yield _value("bootstrap_queue_frontends", "Frontends that wait to be filled.", queued)
    yield _value(
        "bootstrap_active_frontends", "Frontends that are being filled.", status["bootstrapping"]
    )
    if bootstraps := status.get("bootstraps"):
        seconds = HistogramMetricFamily(
            "replicator_bootstrap_duration_seconds",
            "From the begin of a comparison of all trees of a frontend until it has what it lacked, without the wait for a place.",
        )
        seconds.add_metric([], _buckets(bootstraps), bootstraps["seconds"])
        yield seconds
    launches = _counter("launches", "Launches of new machines that have ended.", "result")
    for result, count in status.get("launches", {}).items():
        launches.add_metric([result], count)
    yield launches


def _named(rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each frontend with its label: the instance id if it is known and unique, else the address."""
    ids = Counter(row["instance_id"] for row in rows)
    for row in rows:
        host = f"[{row['host']}]" if ":" in row["host"] else row["host"]
        address = (
            f"{row['user']}@" * bool(row["user"]) + host + f":{row['port']}" * bool(row["port"])
        )
        unique = row["instance_id"] and ids[row["instance_id"]] == 1
        yield row["instance_id"] if unique else address, row


def _frontends(status: dict[str, Any]) -> Iterator[Metric]:
    f = "frontend"
    info = _gauge(
        "frontend_info", "Address and origin of a frontend; always 1.", f, "host", "source"
    )
    state = _gauge("frontend_state", "1 for the present state of a frontend.", f, "state")
    since = _gauge("frontend_state_timestamp_seconds", "When a frontend got into its state.", f)
    paused = _gauge("frontend_paused", "1 if an operator has paused a frontend.", f)
    connected = _gauge("frontend_connected", "1 if a frontend is connected.", f)
    ready = _gauge("frontend_ready", "1 if the ready files of a frontend exist.", f)
    dirty = _gauge(
        "frontend_dirty_paths", "Paths that a frontend has not confirmed; none if unknown.", f
    )
    oldest = _gauge(
        "frontend_oldest_dirty_timestamp_seconds", "Since when the oldest of these is dirty.", f
    )
    in_sync = _gauge(
        "frontend_last_in_sync_timestamp_seconds", "When a frontend last held everything.", f
    )
    for name, row in _named(status["frontends"]):
        info.add_metric([name, row["host"], row["source"]], 1)
        state.add_metric([name, row["state"]], 1)
        since.add_metric([name], row["since"])
        paused.add_metric([name], row["paused"] is not None)
        connected.add_metric([name], row["connected"])
        if row["ready"] is not None:
            ready.add_metric([name], row["ready"])
        if row["dirty"] is not None:
            dirty.add_metric([name], row["dirty"])
        if row["dirty"]:
            oldest.add_metric([name], status["time"] - row["lag_seconds"])
        if row["in_sync_at"] is not None:
            in_sync.add_metric([name], row["in_sync_at"])
    yield from (info, state, since, paused, connected, ready, dirty, oldest, in_sync)


def _traffic(status: dict[str, Any]) -> Iterator[Metric]:
    """Yield what was sent to each frontend, and what became of it."""
    f = "frontend"
    done = _counter(
        "frontend_changes_acknowledged", "Paths that a frontend has confirmed.", f, "kind"
    )
    refused = _counter(
        "frontend_changes_refused", "Changes that a frontend has refused.", f, "reason"
    )
    sent = _counter("frontend_sent_bytes", "Bytes sent to a frontend.", f)
    saved = _counter("frontend_saved_bytes", "Bytes that deltas have saved.", f)
    logins = _counter("frontend_connections", "Connections to a frontend.", f)
    failures = _counter(
        "frontend_connection_failures", "Connections that failed or could not be made.", f
    )
    compared = _counter("frontend_comparisons", "Comparisons of all trees that succeeded.", f)
    for name, row in _named(status["frontends"]):
        done.add_metric([name, "write"], row["files_sent"])
        done.add_metric([name, "delete"], row["deletions_sent"])
        # Not as 0 in advance: with a hundred frontends that would take 15 ms of each scrape.
        for reason, count in row.get("refusals", {}).items():
            refused.add_metric([name, reason], count)
        sent.add_metric([name], row["bytes_sent"])
        saved.add_metric([name], row["bytes_saved"])
        logins.add_metric([name], row["logins"])
        failures.add_metric([name], row["failures"])
        compared.add_metric([name], row["reconciles"])
    yield from (done, refused, sent, saved, logins, failures, compared)


def _trees(status: dict[str, Any]) -> Iterator[Metric]:
    states = _gauge("tree_state", "1 for the present state of a tree.", "tree", "state")
    for row in status["trees"]:
        for state in TREE_STATES:
            states.add_metric([row["source"], state], row["state"] == state)
    yield states
    values = (
        (_gauge("tree_entries", "Files, directories and symlinks.", "tree"), "entries"),
        (_gauge("tree_size_bytes", "Bytes of all files.", "tree"), "bytes"),
        (_gauge("tree_pending_paths", "Paths to be checked, or held back.", "tree"), "pending"),
        (_gauge("tree_held_deletions", "Deletions that are held back.", "tree"), "held_deletions"),
        (_counter("tree_read_bytes", "Bytes read of the source.", "tree"), "bytes_read"),
        (_counter("tree_hashed_files", "Files read and hashed.", "tree"), "files_hashed"),
        (
            _counter("inotify_overflows", "Times that the kernel dropped events.", "tree"),
            "overflows",
        ),
    )
    for metric, key in values:
        for row in status["trees"]:
            if row[key] is not None:
                metric.add_metric([row["source"]], row[key])
        yield metric
    paused = _gauge("tree_paused", "1 if an operator has paused a tree.", "tree")
    unreadable = _gauge("tree_unreadable_paths", "Paths that cannot be read; 100 at most.", "tree")
    problems = _gauge("tree_problems", "Reasons why a tree is not replicated completely.", "tree")
    for row in status["trees"]:
        paused.add_metric([row["source"]], row["paused"] is not None)
        unreadable.add_metric([row["source"]], len(row["unreadable"]))
        problems.add_metric([row["source"]], len(row["problems"]))
    yield from (paused, unreadable, problems)


def _discovery(status: dict[str, Any]) -> Iterator[Metric]:
    polls = _counter("discovery_polls", "Polls of a provider.", "provider")
    failing = _gauge(
        "discovery_consecutive_failures", "Failed polls since the last answer.", "provider"
    )
    answered = _gauge(
        "discovery_last_success_timestamp_seconds", "When a provider last answered.", "provider"
    )
    members = _gauge("discovery_members", "Frontends that a provider lists.", "provider")
    doubt = _gauge(
        "discovery_in_doubt",
        "1 if frontends are kept that the last answer of a provider does not list.",
        "provider",
    )
    for row in status["discovery"]:
        polls.add_metric([row["provider"]], row["looks"])
        failing.add_metric([row["provider"]], row["failures"])
        members.add_metric([row["provider"]], row["members"])
        doubt.add_metric([row["provider"]], bool(row["doubt"]))
        if row["answered_at"] is not None:
            answered.add_metric([row["provider"]], row["answered_at"])
    yield from (polls, failing, answered, members, doubt)


def _delivery(status: dict[str, Any]) -> Iterator[Metric]:
    """Yield the service level."""
    if "delivery" not in status:
        return
    seconds = HistogramMetricFamily(
        "replicator_delivery_seconds",
        "From the publication of a change, some milliseconds after close(), to the last connected frontend.",
        labels=["tree"],
    )
    for row in status["delivery"]["trees"]:
        seconds.add_metric([row["tree"]], _buckets(row), row["seconds"])
    yield seconds


def _buckets(row: dict[str, Any]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = [(str(float(le)), count) for le, count in row["buckets"]]
    return [*buckets, ("+Inf", row["count"])]


def _hooks(status: dict[str, Any]) -> Iterator[Metric]:
    """Yield the runs of all hooks of an event together."""
    runs = _counter("hook_runs", "Runs of hooks.", "event", "result")
    total: Counter[tuple[str, str]] = Counter()
    for row in status.get("hooks", ()):
        ended = row["runs"] - (row["running_seconds"] is not None)
        total[row["event"], "success"] += ended - row["failures"]
        total[row["event"], "failure"] += row["failures"]
    for labels, count in total.items():
        runs.add_metric(labels, count)
    yield runs


def _verification(status: dict[str, Any]) -> Iterator[Metric]:
    """Yield the results of verifications, by the command or on the schedule."""
    schedule = status.get("verify", {})
    if schedule.get("interval_seconds"):
        yield _value(
            "verify_interval_seconds",
            "Longest time between two scheduled verifications.",
            schedule["interval_seconds"],
        )
        yield _value(
            "verify_schedule_failing",
            "1 if the scheduled verifications fail as a whole.",
            bool(schedule.get("error")),
        )
    f = "frontend"
    success = _gauge("verify_success", "1 if the last verification compared everything.", f)
    succeeded = _gauge(
        "verify_last_success_timestamp_seconds", "When the last one ended that did.", f
    )
    differing = _gauge(
        "verify_differing_paths", "Paths that differed in it and were not confirmed since.", f
    )
    found = _counter(
        "verify_differences", "Paths that differed in all verifications, repaired or not.", f
    )
    for name, row in _named(status["frontends"]):
        if verified := row.get("verified"):
            success.add_metric([name], not verified["error"])
            if verified["succeeded_at"]:
                succeeded.add_metric([name], verified["succeeded_at"])
            differing.add_metric([name], verified["differing"])
            found.add_metric([name], verified["found"])
    yield from (success, succeeded, differing, found)


def _base(status: dict[str, Any]) -> Iterator[Metric]:
    """Yield the state of the base in an object store, if there is one."""
    base = status.get("base")
    if not base:
        return
    current = _gauge(
        "base_last_success_timestamp_seconds",
        "When the base of a tree was last known to be up to date, since the start of the daemon.",
        "tree",
    )
    for row in base["trees"]:
        if row["current_at"] is not None and not row["skipped"]:
            current.add_metric([row["source"]], row["current_at"])
    yield current
    failing = _gauge("base_tree_failing", "1 if the last publication of a tree failed.", "tree")
    for row in base["trees"]:
        failing.add_metric([row["source"]], bool(row["error"]))
    yield failing
    yield _value(
        "base_interval_seconds", "Shortest time between two publications.", base["interval"]
    )
    yield _value(
        "base_consecutive_failures", "Failed publications since the last success.", base["failures"]
    )
    yield _value(
        "base_prune_success",
        "1 if the last removal of garbage did not fail.",
        not base["prune_error"],
    )
    yield _value("base_stored_bytes", "Bytes of packs in the object store.", base["bytes"])
    for name, text, value in (
        ("base_requests", "Requests to the object store.", base["requests"]),
        ("base_sent_bytes", "Bytes sent to the object store.", base["bytes_sent"]),
    ):
        yield CounterMetricFamily(f"replicator_{name}", text, value=value)
