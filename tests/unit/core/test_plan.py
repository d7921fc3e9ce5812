"""Comparison and order."""

from replicator.core.pending import PendingKind
from replicator.core.plan import Comparison, safe_order
from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Listed, Stamp
from replicator.ports import Record
from replicator.wire.changes import Delete, MakeDirectory, PutFile

FILE_A = Entry(FILE, 0o644, 5, 1000, b"", b"d" * 32)
DIR = Entry(DIRECTORY, 0o755, 0, 1000)


def compare(there, here, excluded=lambda path, kind: False, **more):
    lines = [Listed(path, entry, 33, 33) for path, entry in there]
    known = [item if isinstance(item, Record) else record(*item) for item in here]
    return [
        (d.path, d.kind) for d in Comparison(excluded=excluded, **more).differences(lines, known)
    ]


def record(path, entry, **more):
    return Record(path, entry, Stamp(entry.size, 0, 0, 0), **more)


def test_equal_sides_differ_nowhere():
    assert compare([(b"a", FILE_A), (b"d", DIR)], [(b"a", FILE_A), (b"d", DIR)]) == []


def test_a_missing_path_and_a_surplus_path():
    assert compare([(b"z", FILE_A)], [(b"a", FILE_A)]) == [
        (b"a", PendingKind.CONTENT),
        (b"z", PendingKind.CONTENT),
    ]


SECOND = 1_000_000_000


def test_a_time_that_the_frontend_keeps_in_whole_seconds_is_equal_when_contents_are():
    ours = FILE_A._replace(mtime_ns=7 * SECOND + 5)
    theirs = FILE_A._replace(mtime_ns=7 * SECOND)
    terms = {"digests": True, "granularity": SECOND}
    assert compare([(b"a", theirs)], [(b"a", ours)], **terms) == []
    assert compare([(b"a", ours)], [(b"a", ours)], **terms) == [], "a mount below keeps them all"
    another = ours._replace(digest=b"e" * 32)
    assert compare([(b"a", theirs)], [(b"a", another)], **terms) == [(b"a", PendingKind.DELTA)]
    for seconds in (6, 8):
        late = FILE_A._replace(mtime_ns=seconds * SECOND)
        assert compare([(b"a", late)], [(b"a", ours)], **terms) == [(b"a", PendingKind.ADOPT)]
    assert compare([(b"a", theirs)], [(b"a", ours)], digests=True) == [(b"a", PendingKind.ADOPT)]


def test_two_versions_of_one_second_are_distinguished_only_by_content():
    ours = FILE_A._replace(mtime_ns=7 * SECOND + 5)
    theirs = FILE_A._replace(mtime_ns=7 * SECOND)
    assert compare([(b"a", theirs)], [(b"a", ours)], granularity=SECOND) == [
        (b"a", PendingKind.ADOPT)
    ]
    unread = ours._replace(digest=b"")
    terms = {"digests": True, "granularity": SECOND}
    assert compare([(b"a", theirs)], [(b"a", unread)], **terms) == [(b"a", PendingKind.ADOPT)]


def test_a_rounded_time_is_enough_on_a_frontend_that_was_followed_unless_it_is_another_time_or_stealthy():
    ours = FILE_A._replace(mtime_ns=7 * SECOND + 5)
    theirs = FILE_A._replace(mtime_ns=7 * SECOND)
    terms = {"followed": True, "granularity": SECOND}
    assert compare([(b"a", theirs)], [(b"a", ours)], **terms) == []
    ambiguous = record(b"a", ours, ambiguous=True)
    assert compare([(b"a", theirs)], [ambiguous], **terms) == [(b"a", PendingKind.DELTA)]
    for late in (6 * SECOND, 8 * SECOND, 7 * SECOND + 4, 7 * SECOND + 6):
        other = FILE_A._replace(mtime_ns=late)
        assert compare([(b"a", other)], [(b"a", ours)], **terms) == [(b"a", PendingKind.ADOPT)]
    assert compare([(b"a", theirs)], [(b"a", ours)], followed=True) == [(b"a", PendingKind.ADOPT)]


def test_directories_and_symlinks_are_equal_in_whole_seconds_also_before_1970():
    for ns in (7 * SECOND + 5, -7 * SECOND - 5):
        floor = ns // (2 * SECOND) * 2 * SECOND
        for entry in (DIR, Entry(SYMLINK, 0, 0, 0, b"x")):
            ours, theirs = entry._replace(mtime_ns=ns), entry._replace(mtime_ns=floor)
            assert compare([(b"a", theirs)], [(b"a", ours)], granularity=2 * SECOND) == []


def test_a_file_with_an_ambiguous_stamp_is_sent_unless_contents_are_compared():
    ambiguous = record(b"a", FILE_A, ambiguous=True)
    assert compare([(b"a", FILE_A)], [ambiguous]) == [(b"a", PendingKind.DELTA)]
    assert compare([(b"a", FILE_A)], [ambiguous], digests=True) == []


def test_the_quick_check():
    assert compare([(b"a", FILE_A._replace(size=6))], [(b"a", FILE_A)]) == [
        (b"a", PendingKind.DELTA)
    ]
    assert compare([(b"a", FILE_A._replace(mtime_ns=1001))], [(b"a", FILE_A)]) == [
        (b"a", PendingKind.ADOPT)
    ]
    assert compare([(b"a", FILE_A._replace(mode=0o600))], [(b"a", FILE_A)]) == [
        (b"a", PendingKind.ATTRIBUTES)
    ]
    assert compare([(b"a", DIR)], [(b"a", FILE_A)]) == [(b"a", PendingKind.CONTENT)]
    assert compare(
        [(b"a", Entry(SYMLINK, 0, 0, 1, b"x"))], [(b"a", Entry(SYMLINK, 0, 0, 1, b"y"))]
    ) == [(b"a", PendingKind.CONTENT)]


def test_the_owner_matters_only_where_one_is_asked_for():
    assert compare([(b"a", FILE_A)], [(b"a", FILE_A)], owner=(33, 33)) == []
    assert compare([(b"a", FILE_A)], [(b"a", FILE_A)], owner=(0, -1)) == [
        (b"a", PendingKind.ATTRIBUTES)
    ]


def test_stripped_bits_are_no_difference():
    assert compare([(b"a", FILE_A)], [(b"a", FILE_A._replace(mode=0o4644))], bits=0o1777) == []


def test_surplus_paths_stay_when_they_are_excluded_or_deletion_is_off():
    assert compare([(b"cache", DIR)], [], excluded=lambda path, kind: path == b"cache") == []
    assert compare([(b"z", FILE_A)], [], delete=False) == []


def test_nothing_is_surplus_below_a_directory_that_the_backend_could_not_list():
    there = [(b"d", DIR), (b"d/x", FILE_A), (b"e", FILE_A)]

    assert compare(there, [record(b"d", DIR, problem="cannot be listed")]) == [
        (b"e", PendingKind.CONTENT)
    ]


def test_digests_are_compared_on_demand():
    tampered = FILE_A._replace(digest=b"e" * 32)

    assert compare([(b"a", tampered)], [(b"a", FILE_A)]) == []
    assert compare([(b"a", tampered)], [(b"a", FILE_A)], digests=True) == [
        (b"a", PendingKind.DELTA)
    ]


def put(path):
    return PutFile(1, 1, path, 0o644, 0, 0, b"d" * 32)


def test_directories_come_before_their_content_and_deletes_after_puts_deepest_first():
    directory = MakeDirectory(1, 1, b"d", 0o755, 0)
    changes = [Delete(1, 1, b"x"), put(b"d/f"), Delete(1, 1, b"x/y"), directory]

    assert safe_order(changes) == [directory, put(b"d/f"), Delete(1, 1, b"x/y"), Delete(1, 1, b"x")]


def test_what_is_in_the_way_of_a_put_is_deleted_first():
    changes = [put(b"d"), Delete(1, 1, b"d/x"), Delete(1, 1, b"d/x/y"), Delete(1, 1, b"e")]

    assert safe_order(changes) == [
        Delete(1, 1, b"d/x/y"),
        Delete(1, 1, b"d/x"),
        put(b"d"),
        Delete(1, 1, b"e"),
    ]
