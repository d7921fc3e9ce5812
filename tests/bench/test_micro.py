"""Every case on files runs, measures and checks; once, at a size at which speed means nothing."""

import json
import os

import pytest

from bench import data, micro, runner

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def found(micro_rows):
    return [json.loads(line) for line in micro_rows.read_text().splitlines()]


def test_every_case_runs_and_every_contestant_is_right(found):
    expected = {(case.name, name) for case in micro.CASES for name in case.contestants}
    assert {(row["case"], row["contestant"]) for row in found} == expected
    for row in found:
        assert row["seconds"] > 0
        # The CPU time of a child that was waited for cannot be separated from that of the process that started it.
        ours = row["contestant"].startswith("replicator")
        assert (row["peak_rss_bytes"] is not None) is ours
        assert row["machine"]["cores"] == os.cpu_count()


def test_a_row_compares_its_time_with_that_of_replicator(found):
    ours = {row["case"]: row["seconds"] for row in found if row["contestant"] == "replicator"}
    for row in found:
        assert row["ratio_of"] == pytest.approx(row["seconds"] / ours[row["case"]])


def test_a_row_about_a_delta_states_the_bytes_sent(found):
    wire = {(row["case"], row["contestant"]): row["wire_bytes"] for row in found}
    assert wire["delta-identical", "replicator"] < 1000
    assert wire["delta-unrelated", "replicator"] > 256 << 10
    # At the same block size we send hardly more than librsync.
    assert wire["delta-scattered", "replicator"] < 1.1 * wire["delta-scattered", "rdiff"] + 4096


def test_a_wrong_result_is_a_failure_not_a_figure(tmp_path):
    case = next(case for case in micro.CASES if case.name == "patch")
    place = tmp_path / "place"
    place.mkdir()
    runner.step(case, "prepare", "replicator", place, {"size": 1 << 18})
    runner.step(case, "measure", "replicator", place, {"size": 1 << 18})
    (place / "site/file").write_bytes(b"wrong")
    with pytest.raises(AssertionError):
        runner.step(case, "check", "replicator", place, {"size": 1 << 18})


@pytest.mark.parametrize("edit", data.PAIRS)
def test_the_data_is_the_same_every_time(edit):
    make, _ = data.PAIRS[edit]
    old, new = make(1 << 17)
    assert (old, new) == make(1 << 17)
    assert (old == new) is (edit == "identical")
    assert len(old) == 1 << 17


def test_every_offset_of_the_decoys_has_the_weak_sum_of_a_block(tmp_path):
    from replicator.delta.rolling import WeakSum
    from replicator.delta.signature import Signature, Signer, block_size_for

    old, new = data.decoys(1 << 18)
    signer = Signer(block_size_for(len(old)), 12345)
    signer.update(old)
    known = Signature.unpack(signer.finish().pack())
    weak = {known.weak[at : at + 4] for at in range(0, len(known.weak), 4)}
    sums = WeakSum(known.block_size, 12345).at_every_offset(memoryview(new[: 1 << 15]))
    assert {value.tobytes() for value in sums.astype("<u4")} == weak
