"""Rows become tables, verdicts and pictures."""

import json

import pytest

from bench import plots, report, targets

MACHINE = {"cpu": "abacus"}


def row(case, contestant, seconds, **more):
    fields = {"params": {"size": 4 << 20}, "cpu_seconds": 0.5, "peak_rss_bytes": 1 << 20}
    rest = {"wire_bytes": None, "figures": {}, "round": 0, "machine": MACHINE}
    return {"case": case, "contestant": contestant, "seconds": seconds, **fields, **rest, **more}


def test_a_median_of_rows():
    rows = [row("a", "replicator", seconds) for seconds in (3.0, 1.0, 2.0)]
    assert report.median(rows, "seconds") == 2.0


def test_a_line_has_the_median_the_extremes_and_the_ratio_to_ours():
    rows = [row("signature", "replicator", s) for s in (0.1, 0.3, 0.2)]
    rows += [row("signature", "rdiff", s) for s in (0.6, 0.5, 0.7)]
    (line,) = [line for line in report.markdown(rows).splitlines() if "| rdiff |" in line]
    assert "signature (4 MiB)" in line
    assert "600 ms (500 ms to 700 ms), n=3" in line
    assert "| 3.00× |" in line


@pytest.mark.parametrize(("theirs", "verdict"), [(0.6, "met"), (0.4, "**missed**")])
def test_the_line_of_a_target_states_whether_it_is_met(theirs, verdict):
    rows = [row("signature", "replicator", 0.2), row("signature", "rdiff", theirs)]
    (line,) = [line for line in report.markdown(rows).splitlines() if "replicator against rdiff" in line]  # fmt: skip
    assert line.endswith(f"| {verdict} |")
    assert "at least 2.5×" in line


def test_a_target_whose_peer_is_missing_has_no_line():
    assert "against rdiff" not in report.markdown([row("signature", "replicator", 0.2)])


def test_an_upper_bound_is_met_from_below():
    (target,) = [t for t in targets.TARGETS if t.about == "the median"]
    assert target.met(9.9)
    assert not target.met(10.1)
    assert target.measure({"replicator": [row("latency", "replicator", 0.004)]}) == 4.0


def test_every_target_is_about_cases_that_exist(bench):
    listed = {line.split()[0] for line in bench("list").stdout.splitlines()}
    assert {case for target in targets.TARGETS for case in target.cases} <= listed


def test_a_comparison_of_a_file_with_itself_is_one(bench, micro_rows):
    text = bench("compare", str(micro_rows), str(micro_rows)).stdout
    lines = text.splitlines()[2:]
    assert lines
    assert all(line.endswith("| 1.00 |") for line in lines)


def test_a_comparison_states_the_ratio_of_the_new_time_to_the_old():
    old, new = [row("settle", "replicator", 2.0)], [row("settle", "replicator", 0.5)]
    assert report.compare(old, new).endswith("| 2 s | 500 ms | 0.25 |")


def test_the_report_of_a_real_run_names_the_machine(bench, micro_rows):
    assert "Machine:" in bench("report", str(micro_rows)).stdout


def test_pictures_are_drawn(micro_rows, tmp_path):
    rows = [json.loads(line) for line in micro_rows.read_text().splitlines()]
    (path,) = plots.draw(rows, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["settle", "--contestant=nonsense"], ["settle", "--set=nonsense=1"]],
)
def test_an_unknown_name_is_an_error_that_contains_it(bench, arguments):
    done = bench("run", *arguments)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
