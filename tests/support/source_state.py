"""A tree over fakes, for whatever reads one."""

import asyncio

from replicator.core.debouncer import Debouncer
from replicator.engine.tree import Tree
from replicator.wire.messages import OpenTree
from tests.support.fakes.watcher import FakeWatcher

SITE = OpenTree(1, b"/site", setid=True)


class FakeSourceState:
    """State of a source that was scanned and is not in doubt, until a test changes it. Passes tests/contract/test_source_state.py.

    Args:
        tree: the tree whose source this is.

    Attributes:
        scanned, halted: see engine.tree.SourceState.
        paused: why deletions are paused; empty if they are not.
        held: paths whose deletion is held back.
        rechecked: the paths that were passed to `recheck`.
        rescans: number of calls of `rescan`.
        is_published: cleared by a test while something that is recorded is not published.
        waited: number of calls of `published`.
    """

    def __init__(self, tree):
        self.scanned = asyncio.Event()
        self.scanned.set()
        self.halted = self.paused = ""
        self.held = set()
        self.rechecked = []
        self.rescans = self.waited = 0
        self.is_published = asyncio.Event()
        self.is_published.set()
        self._tree = tree

    @property
    def doubt(self):
        unread = "" if self.scanned.is_set() else "the source is still being scanned"
        return self.halted or self.paused or unread

    @property
    def deletions_allowed(self):
        return self._tree.delete and not self.paused

    def is_deletion_held(self, path):
        return path in self.held

    def recheck(self, path):
        self.rechecked.append(path)

    async def published(self):
        self.waited += 1
        await self.is_published.wait()

    async def rescan(self):
        self.rescans += 1


def fake_tree(source, catalog, **more):
    """Return a tree whose source is in the state of `FakeSourceState`."""
    debouncer = Debouncer(cooldown=0.01, max_wait=1.0)
    settings = {"target": SITE, "delete": True, "make_watcher": FakeWatcher} | more
    tree = Tree(1, b"/source", source, catalog, debouncer=debouncer, **settings)
    tree.state = FakeSourceState(tree)
    return tree
