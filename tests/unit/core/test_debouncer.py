"""The debouncer: each rule, with explicit times."""

import itertools
import time

import pytest

from replicator.core.check_queue import UNCLOSED
from replicator.core.debouncer import Debouncer, Work, WorkKind
from replicator.core.renames import GRACE
from replicator.model import Hint, Hinted
from tests.support.memory import remembered

CHECK, RENAME, SCAN = WorkKind.CHECK, WorkKind.RENAME, WorkKind.SCAN


@pytest.fixture
def debouncer():
    return Debouncer(cooldown=0.5, max_wait=10.0)


def run(debouncer, until, *, start=0.0, busy=()):
    """Call ready whenever it is due, up to `until`; return [(time, work)]."""
    done = []
    now = start
    while (due := debouncer.deadline()) is not None and max(due, now) <= until:
        now = max(due, now)
        for work in debouncer.ready(now):
            done.append((round(now, 6), work))
            if work.path in busy and work.kind is CHECK:
                debouncer.busy(work.path, now)
    return done


def checks(done, path):
    return [now for now, work in done if work.kind is CHECK and work.path == path]


@pytest.mark.parametrize("kind", [Hinted.CHANGED, Hinted.CLOSED])
def test_first_change_of_a_quiet_path_is_checked_at_once(debouncer, kind):
    debouncer.hint(Hint(kind, b"f"), 5.0)
    assert debouncer.deadline() == 5.0
    assert debouncer.ready(5.0) == [Work(CHECK, b"f")]
    assert debouncer.deadline() is None
    assert len(debouncer) == 0


def test_burst_coalesces(debouncer):
    for _ in range(100):
        debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    assert debouncer.ready(0.0) == [Work(CHECK, b"f")]


def test_second_change_waits_for_the_cooldown_which_doubles_to_sixteen_times(debouncer):
    done = []
    now = 0.0
    while now < 60:
        debouncer.hint(Hint(Hinted.CHANGED, b"f"), now)
        done += [now for _ in debouncer.ready(now)]
        now = round(now + 0.1, 6)
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(done)]
    assert gaps[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_cooldown_starts_small_again_after_a_quiet_period(debouncer):
    for now in (0.0, 0.2):
        debouncer.hint(Hint(Hinted.CHANGED, b"f"), now)
        run(debouncer, now, start=now)
    assert checks(run(debouncer, 10.0), b"f") == [0.5]  # the cooldown is 1 s now
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 2.5)
    assert debouncer.ready(2.5)
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 2.6)
    assert debouncer.deadline() == 3.0


@pytest.mark.parametrize("spacing", [0.0001, 0.001, 0.005, 0.01, 0.015, 0.02])
@pytest.mark.parametrize("writing", [0.0, 0.0005, 0.5])
def test_fifty_rewrites_within_a_second_are_checked_three_times_at_most(
    debouncer, spacing, writing
):
    done = []
    for number in range(50):
        now = number * spacing
        done += run(debouncer, now, start=now)
        debouncer.hint(Hint(Hinted.WRITTEN, b"f"), now)
        done += run(debouncer, now, start=now)
        now += spacing * writing
        debouncer.hint(Hint(Hinted.CLOSED, b"f"), now)
        done += run(debouncer, now, start=now)
    last = 49 * spacing + spacing * writing
    done += run(debouncer, 100.0, start=last)
    assert 1 <= len(checks(done, b"f")) <= 3
    assert checks(done, b"f")[-1] >= last


def test_a_written_file_is_checked_after_its_close_or_soon_if_it_has_no_writer(
    debouncer,
):
    debouncer.hint(Hint(Hinted.WRITTEN, b"f"), 0.0)
    assert debouncer.ready(UNCLOSED / 2) == []
    debouncer.hint(Hint(Hinted.WRITTEN, b"f"), UNCLOSED / 2)
    assert debouncer.ready(UNCLOSED) == [], "the last write counts"
    assert debouncer.ready(2 * UNCLOSED) == [Work(CHECK, b"f", unclosed=True)]
    debouncer.busy(b"f", 2 * UNCLOSED)
    debouncer.hint(Hint(Hinted.WRITTEN, b"f"), 0.2)
    assert debouncer.ready(0.3) == [], "a write is no reason to ask sooner"
    debouncer.hint(Hint(Hinted.CLOSED, b"f"), 0.4)
    assert debouncer.ready(0.4) == [Work(CHECK, b"f")]


def test_a_file_that_stays_open_is_read_by_force_every_max_wait(debouncer):
    done = []
    for tenth in range(350):
        now = tenth / 10
        debouncer.hint(Hint(Hinted.WRITTEN, b"log"), now)
        done += run(debouncer, now, start=now, busy={b"log"})
    assert all(work.unclosed for _, work in done)
    forced = [now for now, work in done if work.force]
    assert forced[:2] == pytest.approx([10.0, 20.0], abs=0.3)
    assert len(done) < 25


def test_a_busy_file_is_retried_with_growing_delays_and_finally_by_force(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    done = run(debouncer, 10.0, busy={b"f"})
    assert checks(done, b"f") == [0.0, 0.5, 1.5, 3.5, 7.5, 10.0]
    assert [work.force for _, work in done] == [False] * 5 + [True]


def test_a_close_after_the_first_busy_check_is_checked_at_once(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    debouncer.ready(0.0)
    debouncer.busy(b"f", 0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"f"), 0.1)
    assert debouncer.ready(0.1) == [Work(CHECK, b"f")]


def test_a_file_that_two_writers_never_both_close_is_read_by_force(debouncer):
    done = []
    for tenth in range(300):
        now = tenth / 10
        debouncer.hint(Hint(Hinted.WRITTEN, b"log"), now)
        debouncer.hint(Hint(Hinted.CLOSED, b"log"), now)
        done += run(debouncer, now, start=now, busy={b"log"})
    forced = [now for now, work in done if work.force]
    assert forced
    assert forced[0] <= 20.0


def test_busy_does_not_postpone_the_check_of_a_close_during_the_read(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    debouncer.ready(0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"f"), 0.4)
    debouncer.busy(b"f", 0.4)
    assert debouncer.deadline() <= 0.5


def test_changes_of_a_directory_are_delayed_and_coalesced(debouncer):
    debouncer.hint(Hint(Hinted.CONTENTS, b"d"), 0.0)
    debouncer.hint(Hint(Hinted.CONTENTS, b"d"), 0.05)
    assert debouncer.ready(0.09) == []
    assert debouncer.ready(0.1) == [Work(CHECK, b"d")]


def test_a_file_rename_is_returned_at_once_and_both_names_are_checked(debouncer):
    debouncer.hint(Hint(Hinted.MOVED, b"a", b"b"), 1.0)
    assert debouncer.deadline() == 1.0
    assert debouncer.ready(1.0) == [
        Work(RENAME, b"a", b"b"),
        Work(CHECK, b"a"),
        Work(CHECK, b"b"),
    ]


def test_renames_come_before_checks_and_scans(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"x"), 0.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"d"), 0.0)
    for pair in ((b"a", b"t"), (b"c", b"a")):
        debouncer.hint(Hint(Hinted.MOVED, *pair), 0.0)
    work = debouncer.ready(0.0)
    assert work[:2] == [Work(RENAME, b"a", b"t"), Work(RENAME, b"c", b"a")]
    assert {w.path for w in work[2:-1]} == {b"a", b"c", b"t", b"x"}
    assert work[-1] == Work(SCAN, b"d")


def test_a_rename_and_its_reversal_cancel_out_and_both_names_are_checked(debouncer):
    for _ in range(1000):
        debouncer.hint(Hint(Hinted.MOVED, b"a", b"b"), 0.0)
        debouncer.hint(Hint(Hinted.MOVED, b"b", b"a"), 0.0)
    assert {(w.kind, w.path) for w in debouncer.ready(0.0)} == {(CHECK, b"a"), (CHECK, b"b")}


def test_a_directory_rename_is_delayed_together_with_checks_below_its_new_name(debouncer):
    debouncer.hint(Hint(Hinted.MOVED, b"d", b"e", is_directory=True), 1.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"e"), 1.0)
    debouncer.hint(Hint(Hinted.CHANGED, b"e/f"), 1.0)
    debouncer.hint(Hint(Hinted.CHANGED, b"new"), 1.0)
    assert {w.path for w in debouncer.ready(1.0)} == {b"d", b"new"}, "other names do not wait"
    assert debouncer.concerns(b"d/f")
    work = debouncer.ready(1.0 + GRACE)
    assert work[0] == Work(RENAME, b"d", b"e")
    assert {(w.kind, w.path) for w in work[1:]} == {(CHECK, b"e"), (CHECK, b"e/f"), (SCAN, b"e")}  # fmt: skip
    assert not debouncer.concerns(b"d/f")


def test_a_directory_rename_is_due_at_once_when_its_old_name_exists_again(debouncer):
    debouncer.hint(Hint(Hinted.MOVED, b"live", b"old", is_directory=True), 1.0)
    debouncer.hint(Hint(Hinted.MOVED, b"new", b"live", is_directory=True), 1.0)
    assert debouncer.ready(1.0)[0] == Work(RENAME, b"live", b"old")
    assert debouncer.ready(1.0 + GRACE)[0] == Work(RENAME, b"new", b"live")


def test_consecutive_renames_of_a_directory_are_composed(debouncer):
    for pair in ((b"d", b"e"), (b"e", b"f"), (b"f", b"g")):
        debouncer.hint(Hint(Hinted.MOVED, *pair, is_directory=True), 1.0)
    debouncer.hint(Hint(Hinted.MOVED, b"g/x", b"y"), 1.0)
    assert debouncer.ready(1.0)[0] == Work(RENAME, b"d/x", b"y")
    moves = [w for w in debouncer.ready(2.0) if w.kind is RENAME]
    assert moves == [Work(RENAME, b"d", b"g")]


def test_a_rename_above_the_target_of_a_pending_rename_comes_first(debouncer):
    debouncer.hint(Hint(Hinted.MOVED, b"d", b"p/d", is_directory=True), 1.0)
    debouncer.hint(Hint(Hinted.MOVED, b"p", b"q", is_directory=True), 1.0)
    moves = [w for w in debouncer.ready(2.0) if w.kind is RENAME]
    assert moves == [Work(RENAME, b"p", b"q"), Work(RENAME, b"d", b"q/d")]


@pytest.mark.parametrize(
    ("second", "moves"),
    [((b"p", b"d/q"), [Work(RENAME, b"p", b"d/q")]), ((b"p/d", b"d/q"), [])],
)
def test_a_rename_that_ends_below_its_old_name_is_checked_instead(debouncer, second, moves):
    debouncer.hint(Hint(Hinted.MOVED, b"d", b"p/d", is_directory=True), 1.0)
    debouncer.hint(Hint(Hinted.MOVED, *second, is_directory=True), 1.0)
    work = debouncer.ready(2.0)
    assert [w for w in work if w.kind is RENAME] == moves
    assert {b"d/q", b"d"} <= {w.path for w in work if w.kind is CHECK}


def test_a_directory_put_above_an_earlier_target_is_checked_after_both_renames(debouncer):
    """Found by flipping names: a check of `d` that came first left the entries of `tmp` there without end."""
    debouncer.hint(Hint(Hinted.MOVED, b"f", b"d/f"), 0.0)
    debouncer.hint(Hint(Hinted.MOVED, b"tmp", b"d"), 0.0)
    work = debouncer.ready(0.0)
    assert work[:2] == [Work(RENAME, b"f", b"d/f"), Work(RENAME, b"tmp", b"d")]
    assert {w.path for w in work[2:]} == {b"f", b"tmp", b"d"}


def test_pending_checks_follow_a_rename(debouncer):
    debouncer.hint(Hint(Hinted.WRITTEN, b"a/b/f"), 0.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"a/b"), 0.0)
    debouncer.hint(Hint(Hinted.WRITTEN, b"c/old"), 0.0)
    debouncer.hint(Hint(Hinted.MOVED, b"a", b"c"), 1.0)
    done = [work for _, work in run(debouncer, 20.0, start=1.0)]
    assert Work(CHECK, b"c/b/f", unclosed=True) in done
    assert Work(SCAN, b"c/b") in done
    assert not [work for work in done if work.path in (b"c/old", b"a/b/f", b"a/b")]


def test_a_close_after_a_rename_is_checked_under_the_new_name(debouncer):
    debouncer.hint(Hint(Hinted.WRITTEN, b"tmp"), 0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"tmp"), 0.0)
    debouncer.hint(Hint(Hinted.MOVED, b"tmp", b"f"), 0.0)
    move, *found = debouncer.ready(0.0)
    assert move == Work(RENAME, b"tmp", b"f")
    assert {(w.kind, w.path) for w in found} == {(CHECK, b"tmp"), (CHECK, b"f")}


def test_fifty_saves_by_renaming_are_checked_three_times_at_most(debouncer):
    done = []
    for number in range(50):
        now = number * 0.02
        debouncer.hint(Hint(Hinted.WRITTEN, b"tmp"), now)
        debouncer.hint(Hint(Hinted.CLOSED, b"tmp"), now)
        debouncer.hint(Hint(Hinted.MOVED, b"tmp", b"f"), now)
        done += run(debouncer, now, start=now)
    done += run(debouncer, 100.0, start=1.0)
    assert len(checks(done, b"f")) <= 3
    assert checks(done, b"f")[-1] >= 0.98


def test_a_scan_replaces_scans_below_it_and_has_a_cooldown(debouncer):
    debouncer.hint(Hint(Hinted.SUBTREE, b"d/e"), 0.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"d"), 0.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"d/f"), 0.0)
    assert debouncer.ready(0.0) == [Work(SCAN, b"d")]
    debouncer.hint(Hint(Hinted.SUBTREE, b"d"), 0.1)
    assert debouncer.ready(0.1) == []
    assert debouncer.ready(0.5) == [Work(SCAN, b"d")]


def test_clear_removes_checks_scans_and_renames(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    debouncer.hint(Hint(Hinted.SUBTREE, b"d"), 0.0)
    debouncer.hint(Hint(Hinted.MOVED, b"a", b"b"), 0.0)
    debouncer.clear()
    assert debouncer.deadline() is None
    assert debouncer.ready(100.0) == []
    assert len(debouncer) == 0


def test_too_many_paths_are_replaced_by_one_scan():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=10)
    for number in range(11):
        debouncer.hint(Hint(Hinted.TOUCHED, b"%d" % number), 0.0)
    assert len(debouncer) == 1
    assert debouncer.ready(0.0) == [Work(SCAN, b"")]


def test_an_upload_is_checked_before_the_scan_that_replaces_too_many_paths():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=10)
    debouncer.hint(Hint(Hinted.CLOSED, b"uploads/first"), 0.0)
    debouncer.hint(Hint(Hinted.WRITTEN, b"uploads/open"), 0.0)
    for number in range(9):
        debouncer.hint(Hint(Hinted.TOUCHED, b"bulk/%d" % number), 0.0)
    assert debouncer.ready(0.0) == [Work(CHECK, b"uploads/first"), Work(SCAN, b"")]
    assert debouncer.ready(0.1) == [Work(CHECK, b"uploads/open", unclosed=True)]


def test_of_too_many_uploads_the_newest_are_checked_before_the_scan():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=10)
    for number in range(11):
        debouncer.hint(Hint(Hinted.CLOSED, b"%d" % number), 0.0)
    kept = [Work(CHECK, b"%d" % number) for number in range(6, 11)]
    assert debouncer.ready(0.0) == [*kept, Work(SCAN, b"")]


@pytest.mark.parametrize("collapses", [True, False])
def test_content_that_arrives_after_pending_checks_were_replaced_is_not_waited_for(collapses):
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=10)
    for number in range(5):
        debouncer.hint(Hint(Hinted.CLOSED, b"before/%d" % number), 0.0)
    debouncer.ready(0.0, limit=1)
    last = debouncer.last_content
    assert debouncer.has_content_of(last)
    if collapses:
        for number in range(10):
            debouncer.hint(Hint(Hinted.TOUCHED, b"bulk/%d" % number), 0.0)
        debouncer.ready(0.0, limit=1)
        assert debouncer.has_content_of(last), "what was there before is waited for if it is kept"
        debouncer.ready(0.0)
    else:
        debouncer.clear()
    assert not debouncer.has_content_of(last)
    for number in range(4):
        debouncer.hint(Hint(Hinted.CLOSED, b"later/%d" % number), 1.0)
    debouncer.ready(1.0, limit=1)
    assert not debouncer.has_content_of(last)
    assert debouncer.has_content_of(debouncer.last_content)


def test_history_is_bounded_and_expires():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=10)
    at_first = remembered(debouncer)
    for number in range(1000):
        debouncer.hint(Hint(Hinted.CHANGED, b"%d" % number), 0.0)
        debouncer.ready(0.0)
        assert (
            remembered(debouncer) < at_first + 21 * 200
        )  # twice the limit, and 200 bytes for each
    debouncer.ready(20.0)
    assert remembered(debouncer) < at_first + 10


def test_the_heap_stays_small_while_one_path_is_rescheduled(debouncer):
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    debouncer.ready(0.0)
    for number in range(20_000):
        debouncer.hint(Hint(Hinted.WRITTEN, b"f"), number / 1e6)
        debouncer.hint(Hint(Hinted.CLOSED, b"f"), number / 1e6)
    assert remembered(debouncer) < 100_000


def test_a_burst_of_a_hundred_thousand_paths_is_returned_completely():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=200_000)
    for number in range(100_000):
        path = b"d%d/e%d/f%d" % (number % 10, number % 1000, number)
        debouncer.hint(Hint(Hinted.CHANGED, path), 0.0)
        debouncer.deadline()
    assert len({work.path for work in debouncer.ready(0.0)}) == 100_000


def test_the_cost_of_a_rename_does_not_depend_on_pending_checks():
    debouncer = Debouncer(cooldown=0.5, max_wait=10.0, limit=200_000)
    for number in range(50_000):
        debouncer.hint(Hint(Hinted.WRITTEN, b"d/f%d" % number), 0.0)
    started = time.process_time()
    for number in range(2000):
        debouncer.hint(Hint(Hinted.MOVED, b"x%d" % number, b"y%d" % number), 0.0)
    assert (
        time.process_time() - started < 20
    )  # not one of speed: a scan for each would take many seconds


def test_an_upload_is_in_the_next_slice_during_any_bulk_change(debouncer):
    for number in range(1000):
        debouncer.hint(Hint(Hinted.TOUCHED, b"bulk/%d" % number), 0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"bulk/upload"), 0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"new"), 0.0)
    paths = [work.path for work in debouncer.ready(0.0, 8)]
    assert len(paths) == 8
    assert {b"bulk/upload", b"new"} <= set(paths)
    assert debouncer.deadline() == 0.0

    rest = []
    while debouncer.deadline() is not None:
        rest += [work.path for work in debouncer.ready(0.0, 8)]
    assert len({*paths, *rest}) == len(paths) + len(rest) == 1002


def test_checks_in_the_backlog_follow_a_rename(debouncer):
    for number in range(100):
        debouncer.hint(Hint(Hinted.CHANGED, b"d/%d" % number), 0.0)
    done = {work.path for work in debouncer.ready(0.0, 8)}
    debouncer.hint(Hint(Hinted.MOVED, b"d", b"e"), 0.0)
    work = debouncer.ready(0.0)
    checked = {one.path for one in work if one.kind is CHECK}
    expected = {b"e/%d" % number for number in range(100)} - {b"e" + path[1:] for path in done}
    assert checked == expected | {b"d", b"e"}


def test_between_returns_only_checks(debouncer):
    debouncer.hint(Hint(Hinted.SUBTREE, b"d"), 0.0)
    debouncer.hint(Hint(Hinted.MOVED, b"a", b"b"), 0.0)
    debouncer.hint(Hint(Hinted.CHANGED, b"a/f"), 0.0)
    debouncer.hint(Hint(Hinted.CHANGED, b"f"), 0.0)
    assert debouncer.between(0.0, 8) == [Work(CHECK, b"f")]
    kinds = [work.kind for _, work in run(debouncer, 5.0)]
    assert kinds[0] is RENAME
    assert SCAN in kinds


def test_adjusted_times_apply_from_the_next_check(debouncer):
    debouncer.adjust(cooldown=2.0, max_wait=20.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"f"), 0.0)
    assert debouncer.ready(0.0)
    debouncer.hint(Hint(Hinted.CLOSED, b"f"), 0.1)
    assert checks(run(debouncer, 10.0, start=0.1), b"f") == [2.0]
