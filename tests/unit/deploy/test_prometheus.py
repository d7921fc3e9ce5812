"""Alert rules and dashboard: each metric that they name exists, and each alert fires when it should and not before."""

import json
import re
import subprocess

import pytest
import yaml

pytest.importorskip("prometheus_client")

from replicator.http.metrics import render
from tests.support import PROJECT
from tests.support.tools import find, missing
from tests.support.web_client import BASE, status

DIRECTORY = PROJECT / "deploy" / "prometheus"
RULES = yaml.safe_load((DIRECTORY / "alerts.yaml").read_text())["groups"][0]["rules"]
BOARD = json.loads((DIRECTORY / "dashboard.json").read_text())
TREE = 'tree="/srv",instance="b"'
FRONTEND = 'frontend="web1",instance="b"'

FIRES = {
    "ReplicatorDown": ('up{job="replicator",instance="b"} 0x60', "2m"),
    "ReplicatorNotAnswering": ('replicator_up{instance="b"} 0x60', "3m"),
    "ReplicatorTreeHalted": (f'replicator_tree_state{{{TREE},state="halted"}} 1x60', "2m"),
    "ReplicatorDeletionsHeld": (f'replicator_tree_state{{{TREE},state="paused"}} 1x60', "6m"),
    "ReplicatorPaused": (f"replicator_frontend_paused{{{FRONTEND}}} 1x90", "62m"),
    "ReplicatorFrontendLost": (f"replicator_frontend_connected{{{FRONTEND}}} 0x60", "6m"),
    "ReplicatorFrontendDegraded": (f'replicator_frontend_state{{{FRONTEND},state="degraded"}} 1x60', "6m"),
    "ReplicatorVerifyDiffers": (f"replicator_verify_differing_paths{{{FRONTEND}}} 3x60", "1m"),
    "ReplicatorVerifyOverdue": (
        f'replicator_verify_last_success_timestamp_seconds{{{FRONTEND}}} 0x240\nreplicator_verify_interval_seconds{{instance="b"}} 3600x240',
        "190m",
    ),
    "ReplicatorVerifyFailing": ('replicator_verify_schedule_failing{instance="b"} 1x60', "6m"),
    "ReplicatorFrontendBehind": (f"replicator_frontend_oldest_dirty_timestamp_seconds{{{FRONTEND}}} 0x60", "6m"),
    "ReplicatorSlowDelivery": (
        "\n".join(
            f'replicator_delivery_seconds_bucket{{{TREE},le="{le}"}} 0+{per_minute}x60'
            for le, per_minute in (("1.0", 80), ("10.0", 100), ("+Inf", 100))
        ),
        "30m",
    ),
    "ReplicatorTreeIncomplete": (f"replicator_tree_unreadable_paths{{{TREE}}} 2x60", "11m"),
    "ReplicatorWatchesNearLimit": (
        'replicator_inotify_watches{instance="b"} 90x60\nreplicator_inotify_watches_limit{instance="b"} 100x60',
        "11m",
    ),
    "ReplicatorDiscoveryFailing": (
        "\n".join(
            f'replicator_discovery_{what}{{provider="alb",instance="b"}} {value}x60'
            for what, value in (("consecutive_failures", 5), ("last_success_timestamp_seconds", 0))
        ),
        "11m",
    ),
    "ReplicatorBaseOld": (
        f'replicator_base_last_success_timestamp_seconds{{{TREE}}} 0x240\nreplicator_base_interval_seconds{{instance="b"}} 300x240',
        "81m",
    ),
    "ReplicatorBaseNotPruned": ('replicator_base_prune_success{instance="b"} 0x240', "181m"),
    "ReplicatorMetricsOld": ('node_textfile_mtime_seconds{file="/d/replicator.prom",instance="b"} 0x60', "6m"),
    "ReplicatorDiscoveryInDoubt": ('replicator_discovery_in_doubt{provider="alb",instance="b"} 1x60', "16m"),
    "ReplicatorNoFrontends": ('replicator_frontends{state="live",instance="b"} 0x60', "16m"),
    "ReplicatorHookFailing": (
        'replicator_hook_runs_total{event="delivered",result="failure",instance="b"} 0 0 1x60', "4m"
    ),
    "ReplicatorConfigNotReloaded": ('replicator_config_last_reload_success{instance="b"} 0x60', "1m"),
}  # fmt: skip

ALSO = (
    (
        "ReplicatorBaseOld",
        f"""replicator_base_last_success_timestamp_seconds{{{TREE}}} 0+60x60
replicator_base_interval_seconds{{instance="b"}} 300x60
replicator_base_consecutive_failures{{instance="b"}} 3x60
replicator_base_tree_failing{{{TREE}}} 0x60
replicator_base_tree_failing{{tree="/other",instance="b"}} 1x60""",
        "11m",
    ),
)
"""Other reasons for which an alert fires."""

WELL = (
    'up{job="replicator",instance="b"} 1x60',
    'replicator_up{instance="b"} 1x60',
    f'replicator_tree_state{{{TREE},state="halted"}} 0x60',
    f'replicator_tree_state{{{TREE},state="paused"}} 0x60',
    f"replicator_tree_paused{{{TREE}}} 0x60",
    f"replicator_frontend_paused{{{FRONTEND}}} 0x60",
    f"replicator_frontend_connected{{{FRONTEND}}} 1x60",
    f'replicator_frontend_state{{{FRONTEND},state="live"}} 1x60',
    f"replicator_frontend_oldest_dirty_timestamp_seconds{{{FRONTEND}}} 0+60x60",
    f"replicator_verify_differing_paths{{{FRONTEND}}} 0x60",
    f"replicator_verify_success{{{FRONTEND}}} 1x60",
    f"replicator_verify_last_success_timestamp_seconds{{{FRONTEND}}} 0x60",
    'replicator_verify_interval_seconds{instance="b"} 3600x60',
    'replicator_verify_schedule_failing{instance="b"} 0x60',
    f"replicator_base_tree_failing{{{TREE}}} 1x60",
    f'replicator_delivery_seconds_bucket{{{TREE},le="1.0"}} 0+100x60',
    f'replicator_delivery_seconds_bucket{{{TREE},le="+Inf"}} 0+100x60',
    f"replicator_tree_unreadable_paths{{{TREE}}} 0x60",
    f"replicator_tree_problems{{{TREE}}} 0x60",
    'replicator_inotify_watches{instance="b"} 70x60',
    'replicator_inotify_watches_limit{instance="b"} 100x60',
    'replicator_discovery_consecutive_failures{provider="alb",instance="b"} 0x60',
    'replicator_discovery_last_success_timestamp_seconds{provider="alb",instance="b"} 0+60x60',
    f"replicator_base_last_success_timestamp_seconds{{{TREE}}} 0+60x60",
    'replicator_base_interval_seconds{instance="b"} 300x60',
    'replicator_base_consecutive_failures{instance="b"} 0x60',
    'replicator_base_prune_success{instance="b"} 1x60',
    'replicator_config_last_reload_success{instance="b"} 1x60',
    'node_textfile_mtime_seconds{file="/d/replicator.prom",instance="b"} 0+60x60',
    'replicator_discovery_in_doubt{provider="alb",instance="b"} 0x60',
    'replicator_frontends{state="live",instance="b"} 2x60',
    'replicator_frontends{state="retrying",instance="b"} 0x60',
    'replicator_hook_runs_total{event="delivered",result="success",instance="b"} 0+1x60',
    'replicator_hook_runs_total{event="delivered",result="failure",instance="b"} 3x60',
)


def names_of(text):
    return set(re.findall(r"\b(?:replicator|process)_[a-z_]+\b", text))


@pytest.fixture
def promtool():
    """Return a function that runs promtool."""
    program = find("promtool") or missing("promtool")

    def run(*arguments, **options):
        return subprocess.run(
            [program, *arguments], check=False, capture_output=True, text=True, **options
        )

    return run


def series(lines):
    for line in lines:
        name, _, values = line.rpartition(" ")
        yield {"series": name, "values": values}


def rules_test(tests):
    return yaml.safe_dump(
        {
            "rule_files": [str(DIRECTORY / "alerts.yaml")],
            "evaluation_interval": "30s",
            "tests": tests,
        }
    )


def test_alerts_and_dashboard_name_only_metrics_that_exist():
    delivery = {"trees": [{"tree": "/srv", "buckets": [[1.0, 1]], "count": 1, "seconds": 0.1}]}
    verified = {"succeeded_at": 1.0, "differing": 1, "found": 1, "error": ""}
    frontend = {"dirty": 1, "ready": True, "verified": verified}
    verify = {"interval_seconds": 3600, "error": ""}
    hook = {"event": "delivered", "runs": 1, "failures": 0, "running_seconds": None}
    more = {"delivery": delivery, "verify": verify, "hooks": [hook], "base": BASE}
    made = render(status([frontend], pid=1, **more)).decode()
    known = {
        line.partition("{")[0].split()[0] for line in made.splitlines() if not line.startswith("#")
    }
    used = {rule["alert"]: names_of(rule["expr"]) for rule in RULES}
    used |= {
        panel["title"]: names_of(" ".join(t["expr"] for t in panel["targets"]))
        for panel in BOARD["panels"]
    }
    others = (
        "ReplicatorDown",
        "ReplicatorMetricsOld",
    )  # metrics of Prometheus and of node_exporter
    assert all(used[rule["alert"]] for rule in RULES if rule["alert"] not in others)
    assert {what: names - known for what, names in used.items() if names - known} == {}


def test_every_alert_is_tested_and_has_a_remedy():
    assert {rule["alert"] for rule in RULES} == FIRES.keys()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_each_alert_fires_when_it_should_and_none_while_all_is_well(promtool, tmp_path):
    by_name = {rule["alert"]: rule for rule in RULES}
    tests = [
        {
            "interval": "1m",
            "input_series": list(series(samples.splitlines())),
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing",severity="{by_name[name]["labels"]["severity"]}"}})',
                    "eval_time": when,
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
        for name, samples, when in [*((name, *fires) for name, fires in FIRES.items()), *ALSO]
    ]
    well = {"expr": "count(ALERTS)", "eval_time": "59m", "exp_samples": []}
    tests.append({"interval": "1m", "input_series": list(series(WELL)), "promql_expr_test": [well]})
    (tmp_path / "test.yaml").write_text(rules_test(tests))
    done = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_deletions_of_a_tree_that_an_operator_has_paused_are_not_reported_as_held(
    promtool, tmp_path
):
    lines = (
        *FIRES["ReplicatorDeletionsHeld"][0].splitlines(),
        f"replicator_tree_paused{{{TREE}}} 1x60",
    )
    expected = {
        "expr": 'ALERTS{alertname="ReplicatorDeletionsHeld"}',
        "eval_time": "30m",
        "exp_samples": [],
    }
    test = {"interval": "1m", "input_series": list(series(lines)), "promql_expr_test": [expected]}
    (tmp_path / "test.yaml").write_text(rules_test([test]))
    done = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_has_no_objection_to_rules_and_metrics(promtool):
    done = promtool("check", "rules", str(DIRECTORY / "alerts.yaml"))
    assert done.returncode == 0, done.stderr
    done = promtool(
        "check", "metrics", input=render(status([{"dirty": 1}, {"host": "b"}])).decode()
    )
    assert (done.returncode, done.stderr) == (0, "")
