"""The bench suite runs, measures, checks and reports; every case once, at a size at which speed means nothing."""

import json
import os
import subprocess
import sys

import pytest

from bench import data, peers, report
from tests.support.sshd import missing

SIZE = "256K"


def bench(*arguments):
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    for name in peers.COMMANDS:
        if why := peers.missing(name):
            missing(why)
    path = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    done = bench("run", "--rounds", "1", "--size", SIZE, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr
    return path


@pytest.mark.timeout(300)
def test_every_case_runs_and_every_contestant_is_right(rows):
    listed = {line.split()[0] for line in bench("list").stdout.splitlines()}
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {row["case"] for row in found} == listed
    for row in found:
        assert row["seconds"] > 0
        assert row["peak_rss_bytes"] > 1 << 20
        assert row["machine"]["cores"] == os.cpu_count()


def test_a_delta_says_what_travels(rows):
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    wire = {(r["case"], r["contestant"]): r["wire_bytes"] for r in found}
    assert wire["delta-identical", "replicator"] < 1000
    assert wire["delta-unrelated", "replicator"] > 256 << 10
    # At the same block size we send hardly more than librsync.
    assert wire["delta-scattered", "replicator"] < 1.1 * wire["delta-scattered", "rdiff"] + 4096


def test_a_report_has_medians_and_ratios(rows):
    text = bench("report", str(rows)).stdout
    (line,) = [
        line for line in text.splitlines() if line.startswith("| signature | 256 KiB | rdiff")
    ]
    assert float(line.rstrip(" |×").rpartition("|")[2]) > 0  # noqa: RUF001  # as the report writes it
    assert "Machine:" in text


def test_a_comparison_of_a_file_with_itself_is_one(rows):
    text = bench("compare", str(rows), str(rows)).stdout
    assert all(line.endswith("| 1.00 |") for line in text.splitlines()[2:])


def test_a_case_that_does_not_exist_is_said(rows):
    done = bench("run", "delta-nonsense")
    assert done.returncode == 2
    assert "delta-nonsense" in done.stderr


def test_a_wrong_result_is_a_failure_not_a_figure(tmp_path, monkeypatch):
    from bench import micro, runner

    case = next(case for case in micro.CASES if case.name == "patch")
    place = tmp_path / "place"
    place.mkdir()
    runner.step(case, "prepare", "replicator", place, {"size": 1 << 18})
    runner.step(case, "measure", "replicator", place, {"size": 1 << 18})
    (place / "site/file").write_bytes(b"wrong")
    with pytest.raises(AssertionError):
        runner.step(case, "check", "replicator", place, {"size": 1 << 18})


@pytest.mark.parametrize("edit", data.EDITS)
def test_the_data_is_the_same_every_time(edit):
    base = data.noise(1 << 17)
    assert data.EDITS[edit](base) == data.EDITS[edit](data.noise(1 << 17))
    assert (data.EDITS[edit](base) == base) is (edit == "identical")


def test_a_median_of_rows():
    rows = [{"seconds": value} for value in (3.0, 1.0, 2.0)]
    assert report.median(rows, "seconds") == 2.0
