"""What verifications find is kept, shown, logged and published, until a later one finds the frontend equal."""

import pytest
from structlog.testing import capture_logs

from replicator.app.verified import open_verified
from replicator.core.lifecycle import State
from replicator.engine.control.shown import shown_state
from replicator.engine.control.verifier import Verifier
from replicator.engine.events import VERIFY_DIFFERS
from replicator.engine.verified import MAX_FRONTENDS, Verified, VerifiedFrontends
from replicator.model import Unlisted
from replicator.wire import messages
from replicator.wire.messages import ListTree
from tests.support.stage import NEVER
from tests.support.waiting import eventually


@pytest.fixture
async def verifier(stage):
    """Verifies a live frontend with three files, of which one has other content of the same size and time."""
    for name in (b"a", b"b", b"c"):
        stage.write(name, b"content")
    await stage.live()
    tamper(stage)
    stage.events = []
    stage.context.events.subscribe(stage.events.append)
    return Verifier(stage.context)


def tamper(stage, digest=b"x" * 32):
    stage.disk[b"b"] = stage.disk[b"b"]._replace(digest=digest)


async def test_a_difference_degrades_the_frontend_and_is_logged_and_published(stage, verifier):
    with capture_logs() as logs:
        report = await verifier.verify(stage.replica, repair=False)
    assert (report.differing, report.compared, report.error) == (1, 3, "")
    assert shown_state(stage.replica, halted=False) == "degraded"
    assert "1 paths differed" in stage.replica.last_error
    assert "such as b: `replicator verify --repair`" in stage.replica.last_error
    (line,) = [line for line in logs if line["event"] == "frontend differs"]
    assert (line["log_level"], line["host"], line["paths"], line["samples"], line["repaired"]) == ("warning", "a", 1, ["b"], False)  # fmt: skip
    (event,) = stage.events
    assert (event.name, event.frontend) == (VERIFY_DIFFERS, "a")
    assert "such as b" in event.reason


async def test_differences_beyond_the_limit_of_a_repair_remain(stage, verifier, monkeypatch):
    monkeypatch.setattr("replicator.engine.frontend.verify.MOST", 0)
    monkeypatch.setattr("replicator.engine.control.verifier.MOST", 0)
    await verifier.verify(stage.replica, repair=True)
    assert stage.replica.verified.differing == 1
    assert shown_state(stage.replica, halted=False) == "degraded"


async def test_an_equal_frontend_resolves_an_earlier_difference_in_silence(stage, verifier):
    await verifier.verify(stage.replica, repair=False)
    stage.disk[b"b"] = stage.disk[b"b"]._replace(digest=stage.disk[b"a"].digest)
    with capture_logs() as logs:
        await verifier.verify(stage.replica, repair=False)
    assert shown_state(stage.replica, halted=False) == "live"
    assert (stage.replica.verified.differing, stage.replica.verified.found) == (0, 1)
    assert len(stage.events) == 1
    assert logs == []


async def test_a_repaired_difference_is_reported_and_ends_when_it_has_arrived(stage, verifier):
    report = await verifier.verify(stage.replica, repair=True)
    assert report.repaired
    await eventually(lambda: not stage.replica.dirty, "the repair")
    assert stage.disk[b"b"].digest == stage.disk[b"a"].digest
    assert shown_state(stage.replica, halted=False) == "live"
    assert stage.replica.verified.found == 1
    assert "they are sent again" in stage.events[0].reason


async def test_a_repaired_difference_remains_until_the_frontend_has_acknowledged_it(
    tmp_path, stage, verifier
):
    path = tmp_path / "verified.json"
    stage.context.verified = open_verified(path)
    stage.now.mute.add(messages.Batch)
    already_sent = len(stage.now.changes(b"b"))
    await verifier.verify(stage.replica, repair=True)
    await eventually(lambda: len(stage.now.changes(b"b")) > already_sent, "the repair on its way")
    assert shown_state(stage.replica, halted=False) == "degraded"
    assert stage.replica.last_error == (
        "1 paths differed from the backend in the last verification, such as b: they are sent again, and not confirmed yet"
    )
    assert open_verified(path).of("a").differing == 1, "a restart would forget the repair"

    stage.now.mute.clear()
    stage.now.answer(stage.now.of(messages.Batch)[-1])
    await eventually(lambda: not stage.replica.dirty, "its answer")
    assert shown_state(stage.replica, halted=False) == "live"
    assert (stage.replica.verified.differing, stage.replica.verified.paths) == (0, ())
    await eventually(lambda: open_verified(path).of("a").differing == 0, "the file")


async def test_a_repair_under_way_still_counts_in_a_later_verification(
    stage, verifier, monkeypatch
):
    monkeypatch.setattr("replicator.engine.frontend.verify.RECENT", 0)
    stage.now.mute.add(messages.Batch)
    await verifier.verify(stage.replica, repair=True)
    report = await verifier.verify(stage.replica, repair=False)
    assert report.silent == 0
    assert stage.replica.verified.differing == 1


async def test_a_repair_that_was_dropped_is_resolved_by_an_equal_verification(stage, verifier):
    stage.now.mute.add(messages.Batch)
    await verifier.verify(stage.replica, repair=True)
    stage.replica.pending_paths.clear("a test")
    stage.now.mute.clear()
    await eventually(lambda: stage.replica.full_comparisons == 2, "the comparison instead")
    assert not stage.replica.dirty
    assert stage.replica.verified.differing == 1, "sizes and times are equal, so nothing was sent"
    assert "replicator verify --repair" in stage.replica.last_error

    tamper(stage, stage.disk[b"a"].digest)
    await verifier.verify(stage.replica, repair=False)
    assert stage.replica.verified.differing == 0


async def test_a_repair_is_followed_through_a_rename(stage):
    stage.write(b"old/b", b"content")
    await stage.live()
    stage.disk[b"old/b"] = stage.disk[b"old/b"]._replace(digest=b"x" * 32)
    stage.now.mute.add(messages.Batch)
    answered, already_sent = len(stage.now.of(messages.Batch)), len(stage.now.changes(b"old/b"))
    await Verifier(stage.context).verify(stage.replica, repair=True)
    await eventually(
        lambda: len(stage.now.changes(b"old/b")) > already_sent, "the repair on its way"
    )
    stage.rename(b"old", b"new")
    stage.now.mute.clear()
    for message in stage.now.of(messages.Batch)[answered:]:
        stage.now.answer(message)
    await eventually(lambda: not stage.replica.dirty, "the answers")
    assert stage.replica.verified.differing == 0


async def test_what_an_incomplete_verification_did_not_see_still_differs(
    stage, verifier, monkeypatch
):
    await verifier.verify(stage.replica, repair=False)
    before = stage.replica.verified
    monkeypatch.setattr("time.time", lambda: before.at + 60)
    stage.disk[b"b"] = stage.disk[b"b"]._replace(digest=stage.disk[b"a"].digest)
    stage.now.unlisted = [Unlisted(b"d", "Permission denied")]
    report = await verifier.verify(stage.replica, repair=False)
    after = stage.replica.verified
    assert "d: cannot be listed" in report.error == after.error
    assert (after.differing, after.paths) == (1, ("b",))
    assert (after.succeeded_at, after.at) == (before.succeeded_at, before.at + 60)


async def test_a_frontend_that_is_not_connected_is_an_error_and_keeps_what_is_known(
    stage, verifier
):
    await verifier.verify(stage.replica, repair=False)
    stage.retry(NEVER)
    stage.now.hang_up()
    await stage.turned(stage.replica, State.RETRYING)
    with capture_logs() as logs:
        report = await verifier.verify(stage.replica, repair=False)
    assert report.error
    assert stage.replica.verified.differing == 1
    assert [line["event"] for line in logs] == ["frontend not verified"]


@pytest.mark.parametrize("knows_rate", [True, False], ids=["this release", "an earlier one"])
async def test_the_rate_is_sent_to_agents_that_know_it(stage, monkeypatch, knows_rate):
    features = set(messages.FEATURES) - (set() if knows_rate else {"rate"})
    monkeypatch.setattr(messages, "FEATURES", tuple(sorted(features)))
    await stage.live()
    await Verifier(stage.context).verify(stage.replica, repair=False, rate=1 << 20)
    (asked,) = [one for one in stage.now.of(ListTree) if one.digest]
    assert asked.rate == (1 << 20 if knows_rate else 0)


async def test_results_survive_a_restart(tmp_path, stage, verifier):
    stage.context.verified = open_verified(tmp_path / "verified.json")
    await verifier.verify(stage.replica, repair=False)
    again = open_verified(tmp_path / "verified.json")
    assert again.of("a") == stage.replica.verified
    assert again.of("a").differing == 1


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"at": "x"}}', '{"a": {"at": null}}', "\xff"])  # fmt: skip
def test_a_damaged_file_is_a_warning_and_no_results(tmp_path, text):
    (tmp_path / "verified.json").write_text(text, "latin-1")
    with capture_logs() as logs:
        assert open_verified(tmp_path / "verified.json").of("a") is None
    assert [line["log_level"] for line in logs] == ["warning"]


def test_a_full_disk_is_a_warning(tmp_path):
    kept = open_verified(tmp_path / "missing" / "verified.json")
    kept.note("a", Verified(1.0))
    with capture_logs() as logs:
        kept.save()
    assert [line["log_level"] for line in logs] == ["warning"]


def test_the_oldest_results_are_dropped_beyond_the_limit():
    kept = VerifiedFrontends()
    for number in range(MAX_FRONTENDS + 1):
        kept.note(str(number), Verified(float(number)))
    assert kept.of("0") is None
    assert kept.of("1") == Verified(1.0)
