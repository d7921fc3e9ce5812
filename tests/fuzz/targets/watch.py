"""Fuzz inotify events in any order: the map of watches must stay a tree, and all hints must have valid paths."""

import os
import struct

from replicator.model import ROOT, check_path, join
from replicator.watch import translate as t
from replicator.watch.queue import EventQueue
from replicator.watch.translate import Event, Translator
from replicator.watch.watchmap import WatchMap
from tests.fuzz.target import target

WATCHES = 8
COOKIES = 4
NAMES = (b"", b"a", b"b", b"c", b"\xff\xfe", b"new\nline", b".replicator-1-1.tmp", b"n" * 255)
MASKS = (t.MODIFY, t.ATTRIB, t.CLOSE_WRITE, t.MOVED_FROM, t.MOVED_TO, t.CREATE, t.DELETE)
OURSELVES = (t.DELETE_SELF, t.MOVE_SELF, t.UNMOUNT, t.Q_OVERFLOW, t.IGNORED)
DIRECTORY = 0x80
BATCH, ARM, RELEASE = range(13, 16)
"""Steps other than an event: end a batch, add a watch for a directory, remove the watches of directories that were moved away."""


def event(mask, wd, name=b"", cookie=0, *, directory=True):
    """Return an event as four bytes: kind, watch, name, cookie."""
    what = (MASKS + OURSELVES).index(mask) | (DIRECTORY if directory else 0)
    return bytes((what, wd, NAMES.index(name), cookie))


def arm(wd, parent, name):
    """Return the step that adds watch `wd` for a directory `name` in the directory of watch `parent`."""
    return bytes((ARM, wd, NAMES.index(name), parent))


def moved(wd, name, to, new, cookie):
    """Return both events of a rename."""
    return event(t.MOVED_FROM, wd, name, cookie) + event(t.MOVED_TO, to, new, cookie)


END, GIVE_UP = bytes((BATCH, 0, 0, 0)), bytes((RELEASE, 0, 0, 0))
TREE = arm(2, 1, b"a") + arm(3, 2, b"b") + arm(4, 3, b"c")


@target(
    TREE + moved(1, b"a", 1, b"c", 1) + event(t.CREATE, 1, b"a") + END + arm(5, 1, b"a"),
    TREE + event(t.MOVED_FROM, 2, b"b", 2) + END + event(t.MOVED_TO, 1, b"b", 2) + END + GIVE_UP,
    TREE + moved(2, b"b", 1, b"b", 1) + moved(1, b"a", 3, b"a", 2) + END,
    TREE + event(t.CREATE, 2, b"b") + END + arm(3, 4, b"b") + arm(2, 3, b"a"),
    TREE + b"".join(event(mask, 4) for mask in OURSELVES) + END,
    TREE + b"".join(event(mask, 3, b"\xff\xfe", directory=False) for mask in MASKS) + END,
    limit=400,
)
def inotify(data):
    """Raise nothing, for any events in any order."""
    watched = WatchMap()
    watched.place_root(1)
    translator = Translator(
        watched, lambda path, _kind: path.endswith(b"c"), lambda path: b"a" in path
    )
    batch = []
    for at in range(0, len(data) - 3, 4):
        what, wd, name, other = data[at : at + 4]
        name, wd, kind = NAMES[name % len(NAMES)], wd % WATCHES, what % 16
        if kind < BATCH:
            mask = (*MASKS, *OURSELVES, 0)[kind] | (t.ISDIR if what & DIRECTORY else 0)
            batch.append(Event(wd, mask, other % COOKIES, name))
        elif kind == ARM and other % WATCHES in watched and name:
            watched.place(wd, other % WATCHES, name)
        elif kind == RELEASE:
            for lost in list(watched.detached):
                watched.remove(lost)
        elif kind == BATCH:
            _translate(translator, watched, batch)
            batch = []
    _translate(translator, watched, batch)


def _translate(translator, watched, batch):
    assert _through_the_kernel(batch) == batch
    translator.hints = []
    translator.checks.clear()
    translator.translate(batch)
    assert len(translator.halves) <= len(batch)
    assert len(translator.hints) <= 4 * len(batch) + COOKIES
    for hint in translator.hints:
        for path in filter(None, (hint.path, hint.target)):
            check_path(path)
    for wd, node in watched._nodes.items():
        assert (node.parent is None) == (wd in watched.detached or wd == watched.root)
        assert len(set(watched._climb(wd, WATCHES + 1))) == len(watched._climb(wd, WATCHES + 1))
        path = watched.path_of(wd)
        assert path is None or path == ROOT or watched.wd_of(path) == wd
        for name, child in node.children.items():
            assert watched._nodes[child].parent == wd
            assert path is None or watched.path_of(child) == join(path, name)


def _through_the_kernel(batch):
    """Encode events as the kernel does, and return what EventQueue reads from them."""
    source, sink = os.pipe()
    try:
        for wd, mask, cookie, name in batch:
            size = -(-(len(name) + 1) // 16) * 16 if name else 0
            os.write(sink, struct.pack("iIII", wd, mask, cookie, size) + name.ljust(size, b"\0"))
        queue = EventQueue(lambda: None)
        queue.close()
        queue._inotify = source_of(source)
        return queue.read(0.0) if batch else []
    finally:
        os.close(source)
        os.close(sink)


class source_of:  # noqa: N801  # used like a function
    """An object with a fileno()."""

    def __init__(self, fd):
        self.fileno = lambda: fd
