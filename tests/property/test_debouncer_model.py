"""The debouncer loses nothing: after the last hint about a path, the path is checked."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from replicator.core.debouncer import Debouncer, WorkKind
from replicator.model import Hint, Hinted, is_below, is_within, rebase
from tests.support.memory import remembered

PATHS = [b"a", b"b", b"a/x", b"a/y", b"b/x", b"a/x/1", b"c"]
FILES = [b"a/y", b"a/x/1"]

plain = st.builds(
    Hint,
    st.sampled_from([Hinted.CHANGED, Hinted.CLOSED, Hinted.WRITTEN, Hinted.CONTENTS]),
    st.sampled_from(PATHS),
)
subtree = st.builds(lambda p: Hint(Hinted.SUBTREE, p), st.sampled_from([*PATHS, b""]))
moves = (
    st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS))
    .filter(
        lambda m: (
            (m[0] in FILES) == (m[1] in FILES)
            and m[0] != m[1]
            and not is_below(m[0], m[1])
            and not is_below(m[1], m[0])
        )
    )
    .map(lambda m: Hint(Hinted.MOVED, *m, is_directory=m[0] not in FILES))
)
busy = st.sampled_from(PATHS)
steps = st.lists(st.one_of(plain, plain, subtree, moves, busy, st.floats(0.0, 3.0)), max_size=60)


class Model:
    """Paths that must still be checked, by path and by subtree, and paths that returned renames have left unsure.

    Like the worker, it follows a rename only if the new name holds what was last checked under the old one.
    """

    def __init__(self):
        self.unanswered: set[bytes] = set()
        self.walks: set[bytes] = set()
        self.unsure: set[bytes] = set()
        self.history: list[Hint] = []  # all renames, in their order
        self.known: dict[
            bytes, object
        ] = {}  # the identity that was met at a path; its first one otherwise

    def identity(self, path: bytes) -> object:
        """Return what now has a name: the name that it had at first, or the rename since which the name is another's."""
        for number, rename in reversed(list(enumerate(self.history))):
            if is_within(path, rename.target):
                path = rebase(path, rename.target, rename.path)
            elif is_within(path, rename.path):
                return number, path
        return path

    def hint(self, hint: Hint) -> None:
        if hint.kind is Hinted.MOVED:
            self.history.append(hint)
            self.unanswered = self._renamed(self.unanswered, hint) | {hint.path, hint.target}
            leaves = {hint.target for walk in self.walks if is_below(hint.path, walk)}
            self.walks = self._renamed(self.walks, hint) | leaves
        elif hint.kind is Hinted.SUBTREE:
            self.walks.add(hint.path)
        else:
            self.unanswered.add(hint.path)

    @staticmethod
    def _renamed(paths: set[bytes], hint: Hint) -> set[bytes]:
        source, target = hint.path, hint.target
        kept = {p for p in paths if p != target and not is_below(p, target)}
        return {
            rebase(p, source, target) if p == source or is_below(p, source) else p for p in kept
        }

    def done(self, work) -> None:
        if work.kind is WorkKind.CHECK:
            self.unanswered.discard(work.path)
            self.unsure.discard(work.path)
            self._met(work.path)
        elif work.kind is WorkKind.RENAME:
            met = self.known.get(work.path, work.path)
            if met == self.identity(
                work.target
            ):  # what is known of its target now may be out of date
                move = Hint(Hinted.MOVED, work.path, work.target)
                self.unsure = self._renamed(self.unsure, move) | {work.target}
                self.known[work.target] = met
        elif work.kind is WorkKind.SCAN:
            covered = {w for w in self.walks if w == work.path or is_below(w, work.path)}
            self.walks -= covered

    def _met(self, path: bytes) -> None:
        """Record the result of a check: if the name is another's now, what was known below it is found to be gone."""
        now = self.identity(path)
        if self.known.get(path, path) != now:
            self.unsure = {p for p in self.unsure if not is_below(p, path)}
        self.known[path] = now


@settings(max_examples=300)
@given(steps, st.sampled_from([None, 1, 3]))
@example([Hint(Hinted.SUBTREE, b"a"), Hint(Hinted.MOVED, b"a/x", b"b", is_directory=True)], None)
@example(
    [Hint(Hinted.MOVED, b"c", b"a/x"), Hint(Hinted.MOVED, b"b", b"a", is_directory=True)], None
)
@example(
    [
        Hint(Hinted.MOVED, b"a", b"b/x", is_directory=True),
        Hint(Hinted.MOVED, b"b", b"a/x", is_directory=True),
    ],
    None,
)
@example(
    [
        Hint(Hinted.MOVED, b"b", b"a", is_directory=True),
        *[Hint(Hinted.CHANGED, b"a")] * 3,
        Hint(Hinted.MOVED, b"a/y", b"a/x/1"),
        0.0,
        *[Hint(Hinted.CHANGED, b"a")] * 5,
        Hint(Hinted.MOVED, b"a", b"b", is_directory=True),
    ],
    None,
)
@example(
    [
        *[Hint(Hinted.CHANGED, b"a")] * 5,
        Hint(Hinted.MOVED, b"a/x/1", b"a/y"),
        0.0,
        Hint(Hinted.MOVED, b"a", b"b", is_directory=True),
        Hint(Hinted.CHANGED, b"a"),
        Hint(Hinted.MOVED, b"a", b"b", is_directory=True),
        Hint(Hinted.CHANGED, b"a"),
    ],
    1,
)
def test_nothing_is_lost(script, limit):
    debouncer = Debouncer(cooldown=0.5, max_wait=4.0)
    at_first = remembered(debouncer)
    model = Model()
    moved, hinted_moves = [], []
    now = 0.0
    for step in script:
        if isinstance(step, float):
            now += step
            work = debouncer.ready(now, limit)
            for one in work:
                model.done(one)
            moved += [w for w in work if w.kind is WorkKind.RENAME]
        elif isinstance(step, bytes):
            debouncer.busy(step, now)
            model.unanswered.add(step)
        else:
            debouncer.hint(step, now)
            model.hint(step)
            hinted_moves += [step] if step.kind is Hinted.MOVED else []
        due = debouncer.deadline()
        assert (due is None) == (len(debouncer) == 0)
    rounds = 0
    while (due := debouncer.deadline()) is not None:
        now = max(now, due)
        for one in debouncer.ready(now, limit):
            model.done(one)
            moved += [one] if one.kind is WorkKind.RENAME else []
        rounds += 1
        assert rounds < 1000
    assert model.unanswered == set()
    assert model.walks == set()
    assert model.unsure == set()
    # Renames that followed each other are joined: each ends where one of them did, or where that was renamed to.
    assert len(moved) <= len(hinted_moves)
    assert all(w.path != w.target for w in moved)
    debouncer.ready(now + 1000.0)
    assert remembered(debouncer) < at_first + 50


@settings(max_examples=100)
@given(st.lists(st.one_of(plain, st.floats(0.0, 1.0)), max_size=80))
def test_a_checked_path_is_not_returned_before_its_cooldown_ends(script):
    debouncer = Debouncer(cooldown=0.5, max_wait=4.0)
    last: dict[bytes, float] = {}
    now = 0.0
    for step in script:
        if isinstance(step, float):
            now += step
        else:
            debouncer.hint(step, now)
        for work in debouncer.ready(now):
            assert now - last.get(work.path, -1.0) >= 0.5 - 1e-9
            last[work.path] = now


@settings(max_examples=50)
@given(st.lists(plain, min_size=8, max_size=40))
def test_pending_is_bounded(script):
    debouncer = Debouncer(cooldown=0.5, max_wait=4.0, limit=3)
    for hint in script:
        debouncer.hint(hint, 0.0)
        assert len(debouncer) <= 3
