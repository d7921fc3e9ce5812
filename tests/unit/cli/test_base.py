"""`replicator base` says what is published, how old it is and what it costs, and fails if it is not."""

import json

import pytest
from click.testing import CliRunner

from replicator import cli
from replicator.cli import base as module
from tests.support.web_client import BASE

STATUS = BASE
TREE = BASE["trees"][0]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command against a daemon that gives these answers."""
    (tmp_path / "www").mkdir()
    config = tmp_path / "r.toml"

    def invoke(*arguments, answers, base='[base]\nurl = "s3://bucket/x"\n'):
        config.write_text(f'[[tree]]\nsource = "www"\ntarget = "/srv"\n{base}')
        asked = []
        monkeypatch.setattr(
            module, "ask_daemon", lambda _, request, **__: asked.append(request) or answers
        )
        result = CliRunner().invoke(cli.commands, ["base", *arguments, "--config", str(config)])
        return result, asked

    return invoke


def test_status_shows_age_size_and_cost(run):
    result, asked = run("status", answers=iter([STATUS]))
    assert asked == [{"command": "base-status"}]
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "/srv/www: 20000 entries, 4.0 MiB in 3 packs, published 1000 s ago, up to date 60 s ago, 20% of its packs unused; manifest abababababababab",
        "in the store: 4 packs, 6.0 MiB",
        "since the start: 12 requests, 3.0 MiB sent",
    ]


def test_status_as_json_is_the_answer_of_the_daemon(run):
    result, _ = run("status", "--json", answers=iter([STATUS]))
    assert json.loads(result.output) == STATUS


@pytest.mark.parametrize(
    "status",
    [
        STATUS | {"error": "unreachable", "failures": 3},
        STATUS | {"trees": [{"source": "/srv/www", "manifest": None, "skipped": ""}]},
        STATUS | {"trees": []},
        STATUS | {"prune_error": "denied"},
    ],
)
def test_status_fails_unless_everything_is_published(run, status):
    result, _ = run("status", answers=iter([status]))
    assert result.exit_code == 3
    assert ("unreachable (3 failures in a row)" in result.output) == bool(status["error"])


def test_a_tree_that_can_have_no_base_is_shown_and_no_failure(run):
    skipped = {"source": "/srv/b", "manifest": None, "skipped": "tree.delete is off"}
    result, _ = run("status", answers=iter([STATUS | {"trees": [TREE, skipped]}]))
    assert result.exit_code == 0
    assert "/srv/b: not published: tree.delete is off" in result.output


def test_publish_says_what_it_cost(run):
    cost = {"seconds": 1.5, "requests": 4, "bytes_sent": 1 << 20, "cpu_seconds": 0.25}
    rows = [TREE | {"changed": True} | cost, TREE | {"changed": False}]
    rows.append({"source": "/srv/b", "skipped": "tree.delete is off"})
    result, asked = run("publish", "--take-over", answers=iter(rows))
    assert asked == [{"command": "base-publish", "take_over": True}]
    assert result.output.splitlines() == [
        "/srv/www: published: 20000 entries, 4.0 MiB in 3 packs in 1.5 s: 4 requests, 1.0 MiB sent, 0.25 s of CPU time",
        "/srv/www: unchanged: 20000 entries, 4.0 MiB in 3 packs",
        "/srv/b: not published: tree.delete is off",
    ]
    assert result.exit_code == 0


def test_publish_fails_if_a_tree_is_not_published(run):
    rows = [TREE | {"changed": False}, {"source": "/srv/b", "waits": "its source is in doubt"}]
    result, _ = run("publish", answers=iter(rows))
    assert result.exit_code == 3
    assert "/srv/b: not published: its source is in doubt" in result.output


def test_publish_fails_if_files_are_left_out(run):
    result, _ = run("publish", answers=iter([TREE | {"changed": False, "left_out": 3}]))
    assert result.exit_code == 3
    assert "3 files were changing, and are left out" in result.output


@pytest.mark.parametrize("command", ["publish", "status", "prune"])
def test_a_daemon_that_ends_before_it_has_answered_is_a_failure(run, command):
    result, _ = run(command, answers=iter([]))
    assert result.exit_code == 1
    assert "the daemon ended before it answered" in str(result.exception)


def test_prune_says_what_it_removed(run):
    result, _ = run("prune", answers=iter([{"objects": 7, "bytes": 2 << 20, "skipped": ""}]))
    assert result.output == "removed 7 objects, 2.0 MiB\n"


def test_prune_that_examined_nothing_says_why_and_is_no_success(run):
    skipped = {"objects": 0, "bytes": 0, "skipped": "another backend wrote here"}
    result, _ = run("prune", answers=iter([skipped]))
    assert result.output == "nothing was examined: another backend wrote here\n"
    assert result.exit_code == 3


def test_without_a_base_or_a_daemon_each_command_fails(run):
    for command in ("publish", "status", "prune"):
        result, _ = run(command, answers=iter([]), base="")
        assert "no base is configured" in str(result.exception)
        result, _ = run(command, answers=None)
        assert "no daemon runs" in str(result.exception)
