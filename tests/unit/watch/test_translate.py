"""watch.translate: events by hand, hints out."""

import pytest

from replicator.model import DIRECTORY, Hint, Hinted
from replicator.watch import translate as t
from replicator.watch.translate import Event, Name, Translator
from replicator.watch.watchmap import WatchMap

CHANGED, WRITTEN, CLOSED = Hinted.CHANGED, Hinted.WRITTEN, Hinted.CLOSED
TOUCHED = Hinted.TOUCHED
CONTENTS, MOVED = Hinted.CONTENTS, Hinted.MOVED
ROOT, A, AB = 1, 2, 3


@pytest.fixture
def watched():
    watched = WatchMap()
    watched.place_root(ROOT)
    watched.place(A, ROOT, b"a")
    watched.place(AB, A, b"b")
    return watched


@pytest.fixture
def translator(watched):
    def prune(path, kind):
        return path.endswith(b".tmp") or (kind == DIRECTORY and path.endswith(b"cache"))

    return Translator(watched, prune, lambda path: path.endswith(b"link"))


def hints_of(translator, *events):
    translator.hints = []
    translator.translate([Event(*event) for event in events])
    return translator.hints


@pytest.mark.parametrize(
    ("mask", "kind"),
    [(t.MODIFY, WRITTEN), (t.CLOSE_WRITE, CLOSED), (t.ATTRIB, TOUCHED)],
)
def test_content_and_attributes(translator, mask, kind):
    assert hints_of(translator, (A, mask, 0, b"f")) == [Hint(kind, b"a/f")]


def test_new_file_waits_for_its_close_unless_complete(translator):
    assert hints_of(translator, (A, t.CREATE, 0, b"f"), (A, t.CREATE, 0, b"link")) == [
        Hint(WRITTEN, b"a/f"),
        Hint(CHANGED, b"a/link"),
        Hint(CONTENTS, b"a"),
    ]


def test_delete(translator):
    assert hints_of(translator, (ROOT, t.DELETE, 0, b"f")) == [
        Hint(TOUCHED, b"f"),
        Hint(CONTENTS, b""),
    ]


def test_new_directory_is_to_be_checked(translator):
    assert hints_of(translator, (A, t.CREATE | t.ISDIR, 0, b"n"))[0] == Hint(CHANGED, b"a/n")
    assert list(translator.checks) == [Name(A, b"n")]


def test_identical_adjacent_events_are_one_hint(translator):
    assert hints_of(translator, *[(A, t.MODIFY, 0, b"f")] * 5) == [Hint(WRITTEN, b"a/f")]


def test_temporaries_and_pruned_paths_give_no_hint(translator):
    made = hints_of(translator, (A, t.CREATE, 0, b".replicator-1-2.tmp"))
    assert made == [Hint(CONTENTS, b"a")]  # the time of the directory is not ours alone
    assert hints_of(translator, (A, t.MODIFY, 0, b"x.tmp")) == []


def test_rename_of_a_file(translator):
    hints = hints_of(translator, (A, t.MOVED_FROM, 7, b"x"), (AB, t.MOVED_TO, 7, b"y"))
    assert hints == [Hint(MOVED, b"a/x", b"a/b/y"), Hint(CONTENTS, b"a"), Hint(CONTENTS, b"a/b")]


def test_rename_of_a_directory_changes_the_paths_of_later_events(translator):
    hints = hints_of(
        translator,
        (ROOT, t.MOVED_FROM | t.ISDIR, 7, b"a"),
        (ROOT, t.MOVED_TO | t.ISDIR, 7, b"z"),
        (AB, t.CLOSE_WRITE, 0, b"f"),
    )
    assert hints[:2] == [Hint(MOVED, b"a", b"z", is_directory=True), Hint(CLOSED, b"z/b/f")]
    assert Name(ROOT, b"z") in translator.checks


def test_halves_of_a_rename_meet_across_batches(translator, watched):
    assert hints_of(translator, (ROOT, t.MOVED_FROM | t.ISDIR, 7, b"a")) == [Hint(CONTENTS, b"")]
    assert watched.path_of(AB) is None
    assert hints_of(translator, (ROOT, t.MOVED_TO | t.ISDIR, 7, b"z"))[0] == Hint(
        MOVED, b"a", b"z", is_directory=True
    )
    assert watched.path_of(AB) == b"z/b"


def test_half_a_rename_is_a_move_out_after_the_next_batch(translator, watched):
    hints_of(translator, (ROOT, t.MOVED_FROM | t.ISDIR, 7, b"a"))
    assert hints_of(translator) == [Hint(CHANGED, b"a")]
    assert watched.detached == {A}


def test_move_in(translator):
    hints = hints_of(translator, (A, t.MOVED_TO | t.ISDIR, 9, b"in"))
    assert hints == [Hint(CHANGED, b"a/in"), Hint(CONTENTS, b"a")]
    assert list(translator.checks) == [Name(A, b"in")]


def test_rename_to_and_from_an_excluded_name_is_a_change_of_the_other(translator):
    assert hints_of(translator, (A, t.MOVED_FROM, 7, b"x.tmp"), (A, t.MOVED_TO, 7, b"x"))[
        0
    ] == Hint(CHANGED, b"a/x")
    assert hints_of(translator, (A, t.MOVED_FROM, 8, b"x"), (A, t.MOVED_TO, 8, b"x.tmp"))[
        0
    ] == Hint(CHANGED, b"a/x")


def test_the_source_of_a_rename_has_its_current_name_in_the_hint(translator):
    hints = hints_of(
        translator,
        (A, t.MOVED_FROM, 7, b"x"),
        (ROOT, t.MOVED_FROM | t.ISDIR, 8, b"a"),
        (ROOT, t.MOVED_TO | t.ISDIR, 8, b"z"),
        (ROOT, t.MOVED_TO, 7, b"y"),
    )
    assert hints[:2] == [Hint(MOVED, b"a", b"z", is_directory=True), Hint(MOVED, b"z/x", b"y")]


def test_directory_that_became_excluded_stays_detached(translator, watched):
    hints_of(
        translator,
        (ROOT, t.MOVED_FROM | t.ISDIR, 7, b"a"),
        (ROOT, t.MOVED_TO | t.ISDIR, 7, b"cache"),
    )
    assert watched.detached == {A}


def test_overflow_and_root(translator):
    hints_of(translator, (-1, t.Q_OVERFLOW, 0, b""))
    assert translator.overflowed
    assert hints_of(translator, (ROOT, t.MOVE_SELF, 0, b"")) == [Hint(CHANGED, b"")]
    assert translator.root_gone


def test_self_events_of_other_directories_are_left_to_their_parents(translator, watched):
    assert hints_of(translator, (A, t.MOVE_SELF, 0, b""), (AB, t.DELETE_SELF, 0, b"")) == []
    assert hints_of(translator, (A, t.ATTRIB | t.ISDIR, 0, b"")) == [Hint(CHANGED, b"a")]
    hints_of(translator, (AB, t.IGNORED, 0, b""))
    assert AB not in watched
    assert hints_of(translator, (AB, t.MODIFY, 0, b"f")) == []
