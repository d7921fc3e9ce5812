"""ErrorStatus: the last error is one that is not resolved, even if other paths have succeeded since."""

from structlog.testing import capture_logs

from replicator.core.lifecycle import State
from replicator.core.pending import Key
from replicator.engine.frontend import error_status as module
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.model import Unlisted
from tests.support.stage import NEVER
from tests.support.waiting import eventually


async def test_a_refusal_is_the_last_error_until_it_is_resolved(stage):
    stage.retry(0.05)
    await stage.live()
    stage.now.refusals[b"f"] = ("no_space", "No space left on device")
    stage.replica.offer(stage.write(b"f", b"content"))
    await eventually(lambda: stage.replica.last_error, "the error")
    assert stage.replica.last_error == "f: No space left on device"
    assert not stage.replica.converged
    assert stage.replica.state is State.LIVE  # the others are carried on with
    stage.replica.resync()
    await eventually(lambda: stage.replica.full_comparisons == 2, "another comparison")
    assert "No space left" in stage.replica.last_error

    stage.now.refusals.clear()
    await eventually(lambda: stage.replica.converged, "the next attempt")
    stage.replica.offer(stage.write(b"g", b"content"))
    assert stage.replica.last_error == ""  # also while another path is dirty


async def test_the_last_error_names_the_refused_path_after_a_comparison(stage):
    stage.retry(NEVER)
    stage.write(b"f", b"content")
    stage.prepare = lambda agent: agent.refusals.update({b"f": ("denied", "EACCES")})
    await stage.live()

    assert stage.replica.last_error == "f: EACCES"


async def test_a_directory_that_cannot_be_listed_is_the_last_error_until_it_can(stage):
    unlisted = [Unlisted(b"d", "Permission denied")]
    stage.prepare = lambda agent: agent.unlisted.extend(unlisted)
    with capture_logs() as logged:
        await stage.live()
        assert stage.replica.converged
        assert stage.replica.last_error == "d: cannot be listed: Permission denied"
        stage.replica.resync()
        await eventually(lambda: stage.replica.full_comparisons == 2, "another comparison")
    assert [line["event"] for line in logged].count("cannot be listed") == 1

    stage.now.unlisted.clear()
    stage.replica.resync()
    await eventually(lambda: stage.replica.full_comparisons == 3, "one that can")
    assert stage.replica.last_error == ""


def test_the_error_of_a_path_that_has_arrived_makes_room_for_that_of_one_that_has_not():
    errors = ErrorStatus("a")
    first, second = Key(1, b"first"), Key(1, b"second")
    errors.refused(first, "Permission denied")
    errors.refused(second, "No space left on device")
    errors.resolved(second)
    assert errors.error == "first: Permission denied"
    errors.refused(second, "Disk quota exceeded")
    errors.refused(first, "Permission denied")  # at the next attempt
    errors.compared()
    assert errors.error == "first: Permission denied"
    errors.resolved(first)
    assert errors.error == "second: Disk quota exceeded"
    errors.resolved(second)
    assert errors.error == ""


def test_each_error_is_logged_once_until_it_is_resolved():
    errors = ErrorStatus("a")
    with capture_logs() as logged:
        for _ in range(2):
            errors.failed("refused", 1)
            errors.refused(Key(1, b"f"), "no space")
        errors.refused(Key(1, b"f"), "denied")
        errors.resolved(Key(1, b"f"))
        errors.compared()
        errors.failed("refused", 1)
        for number in range(module.LOGGED + 1):
            errors.refused(Key(1, b"%d" % number), "no space")

    logged_paths = [line.get("path", line["event"]) for line in logged]
    assert logged_paths[:5] == ["frontend failed", "f", "f", "frontend failed", "0"]
    assert len(logged_paths) == 4 + module.LOGGED
    assert errors.error == f"{module.LOGGED}: no space"


def test_the_surplus_of_each_tree_is_reported_until_it_is_resolved():
    errors = ErrorStatus("a")
    errors.keep_surplus(1, "many")
    errors.keep_surplus(2, "more")
    assert errors.surplus_kept == "many"
    errors.surplus_resolved(1)
    errors.surplus_resolved(1)
    assert errors.surplus_kept == "more"
