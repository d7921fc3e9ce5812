"""`unanswered`: a path that a hint named before a given time is unanswered until it was checked, also under a new name."""

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.debouncer import Debouncer, WorkKind
from replicator.model import Hint, Hinted, is_below, is_within, rebase
from tests.property.test_debouncer_model import moves, plain, subtree

before = st.lists(st.one_of(plain, plain, subtree, moves, st.floats(0.0, 1.0)), max_size=25)
after = st.lists(
    st.one_of(plain, subtree, moves, st.floats(0.0, 2.0), st.just("busy")), max_size=40
)


class Unanswered:
    """What the hints before the fence have named, and no check has answered."""

    def __init__(self):
        self.paths, self.scans = set(), set()

    def hint(self, hint, *, counts):
        if hint.kind is Hinted.MOVED:
            leaves = {hint.target for scan in self.scans if is_below(hint.path, scan)}
            self.paths = self._renamed(self.paths, hint)
            self.scans = self._renamed(self.scans, hint) | leaves
        if not counts:
            return
        if hint.kind is Hinted.SUBTREE:
            self.scans.add(hint.path)
        else:
            self.paths |= {hint.path} | ({hint.target} if hint.kind is Hinted.MOVED else set())

    @staticmethod
    def _renamed(paths, hint):
        source, target = hint.path, hint.target
        kept = {path for path in paths if not is_within(path, target)}
        return {rebase(p, source, target) if is_within(p, source) else p for p in kept}

    def done(self, batch):
        """Answer what a batch of work covers; return the paths that it may find busy, and whether a scan finds them."""
        checked = {work.path for work in batch if work.kind is WorkKind.CHECK}
        scanned = [work.path for work in batch if work.kind is WorkKind.SCAN]
        covered = {p for p in self.paths if any(is_within(p, directory) for directory in scanned)}
        self.scans = {
            scan for scan in self.scans if not any(is_within(scan, path) for path in scanned)
        }
        busy = [(path, path in covered) for path in covered | (self.paths & checked)]
        self.paths -= covered | checked
        return busy


@settings(max_examples=400, deadline=None)
@given(before, after, st.sampled_from([4, 100_000]))
def test_what_was_hinted_before_a_fence_is_unanswered_until_it_was_checked(first, then, limit):
    debouncer, expected, now = Debouncer(cooldown=0.5, max_wait=4.0, limit=limit), Unanswered(), 0.0
    for step in first:
        if isinstance(step, float):
            now += step
            expected.done(debouncer.ready(now))
        else:
            debouncer.hint(step, now)
            expected.hint(step, counts=True)
    fence, checked = now, []
    now += 0.001
    for step in then:
        if isinstance(step, float):
            now += step
            checked = expected.done(debouncer.ready(now))
        elif step == "busy":
            for path, scanned in checked:  # directly after the work, before anything else is hinted
                debouncer.busy(path, now, scanned=scanned)
                expected.paths.add(path)
            checked = []
        else:
            debouncer.hint(step, now)
            expected.hint(step, counts=False)
            checked = []
        for path in expected.paths | expected.scans:
            assert debouncer.unanswered(path, fence) is not None, path
        assert (
            not (expected.paths or expected.scans) or debouncer.unanswered(b"", fence) is not None
        )
    while (due := debouncer.deadline()) is not None:
        now = max(now, due)
        debouncer.ready(now)
    assert debouncer.unanswered(b"", now) is None


@settings(max_examples=100, deadline=None)
@given(before)
def test_what_changes_after_a_fence_is_not_waited_for(script):
    debouncer, now = Debouncer(cooldown=0.5, max_wait=4.0), 0.0
    for step in script:
        if isinstance(step, float):
            now += step
        elif step.kind is not Hinted.MOVED and step.kind is not Hinted.WRITTEN:
            debouncer.hint(step, now)
    fence = now
    debouncer.hurry(b"", fence, now)
    for _ in range(
        40
    ):  # other changes go on all the time, and each is hinted before the last was checked
        now += 0.05
        debouncer.hint(Hint(Hinted.CHANGED, b"hot"), now)
        debouncer.ready(now)
    assert debouncer.unanswered(b"", fence) is None
    assert debouncer.is_pending(b"hot")
