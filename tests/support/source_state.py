"""A tree over fakes, for whatever reads one."""

import asyncio

from replicator.core.debouncer import Debouncer
from replicator.engine.tree import Tree
from replicator.wire.messages import OpenTree
from tests.support.fakes import FakeWatcher

SITE = OpenTree(1, b"/site", setid=True)


class FakeSourceState:
    """State of a source that was scanned and is not in doubt, unless a test says otherwise; see `engine.tree.SourceState`."""

    def __init__(self):
        self.scanned = asyncio.Event()
        self.scanned.set()
        self.halted = self.doubt = ""
        self.deletions_allowed = True
        self.held = set()
        self.rechecked = []

    def holds(self, path):
        return path in self.held

    def recheck(self, path):
        self.rechecked.append(path)


def fake_tree(source, catalog, **more):
    """Return a tree whose source is in the state of `FakeSourceState`."""
    debouncer = Debouncer(cooldown=0.01, max_wait=1.0)
    settings = {"target": SITE, "delete": True} | more
    tree = Tree(1, b"/source", source, catalog, FakeWatcher, debouncer, **settings)
    tree.state = FakeSourceState()
    return tree
