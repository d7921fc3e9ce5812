"""The dirty set against a model: a dict of path to version, and what a frontend holds."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.model import is_below
from tests.support.memory import remembered

keys = st.sampled_from([Key(1, name) for name in (b"a", b"b", b"d", b"d/x", b"d/y")])


class Convergence(RuleBasedStateMachine):
    """A source whose paths get new versions, a frontend, and a connection between them that keeps order and may be cut."""

    @initialize()
    def begin(self):
        self.now = 0.0
        self.dirty = DirtySet()
        self.source = {}
        self.frontend = {}
        self.wire = []

    @rule(key=keys, live=st.booleans())
    def change(self, key, live):
        self.source[key] = self.source.get(key, 0) + 1
        if live:  # encoded at once, queued behind what is in flight
            self.wire.append((key, self.dirty.mark_sent(key, self.now), self.source[key]))
        else:
            self.dirty.mark(key, PendingKind.CONTENT, self.now, urgent=False)

    @rule(limit=st.integers(1, 3))
    def send(self, limit):
        for due in self.dirty.take(self.now, limit):
            self.wire.append((due.key, due.generation, self.source[due.key]))

    @rule(refuse=st.booleans())
    def answer(self, refuse):
        if self.wire:
            key, generation, version = self.wire.pop(0)
            if refuse:
                if self.dirty.refused(key, generation, PendingKind.CONTENT, "no") is not None:
                    self.dirty.block(key, self.now + 2)
            else:
                self.frontend[key] = version
                self.dirty.acknowledged(key, generation)

    @rule()
    def cut(self):
        self.wire.clear()
        self.dirty.connection_lost()

    @rule()
    def wait(self):
        self.now += 1

    @invariant()
    def clean_means_equal(self):
        for key, version in self.source.items():
            assert key in self.dirty or self.frontend.get(key) == version

    @invariant()
    def everything_dirty_is_waiting_blocked_or_on_the_wire(self):
        assert self.dirty.bulk_open >= 0

    def teardown(self):
        if not hasattr(self, "dirty"):
            return
        for _ in range(10):
            self.now += 10
            self.send(100)
            while self.wire:
                self.answer(refuse=False)
        assert self.frontend == self.source
        assert len(self.dirty) == 0
        assert self.dirty.bulk_open == 0


Convergence.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestConvergence = Convergence.TestCase


paths = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4).map(b"/".join)
tree_keys = st.builds(Key, st.sampled_from([1, 2]), paths)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["mark", "drop", "rename"]), tree_keys, paths)))
def test_at_or_below_finds_what_a_scan_of_all_dirty_paths_finds(script):
    dirty = DirtySet()
    for tree in (1, 2):  # each tree has an index for good
        dirty.mark(Key(tree, b""), PendingKind.CONTENT, 0.0, urgent=False)
        dirty.drop(Key(tree, b""))
    at_first = remembered(dirty)
    for what, key, target in script:
        below = is_below(key.path, target) or is_below(target, key.path)
        if what == "mark":
            dirty.mark(key, PendingKind.CONTENT, 0.0, urgent=False)
        elif what == "drop":
            dirty.drop(key)
        elif key.path != target and not below:
            dirty.rename(key, Key(key.tree, target), 0.0)
        for tree, path in {key, Key(key.tree, target)}:
            expected = {
                k for k in dirty if k.tree == tree and (k.path == path or is_below(k.path, path))
            }
            assert set(dirty.at_or_below(Key(tree, path))) == expected
            assert dirty.any_below(Key(tree, path)) == any(is_below(k.path, path) for k in expected)
    for key in list(dirty):
        dirty.drop(key)
    assert remembered(dirty) < at_first + 50
