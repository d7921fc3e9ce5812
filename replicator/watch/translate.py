"""Translate inotify events into hints. Makes no system calls.

An event describes a moment in the past. Every event after which a directory may have appeared, moved or vanished therefore requests
a **check** of the name: `watch.arm` then examines what is there now. A rename is reported as two events with the same cookie. They
follow each other closely, but a read may end between them, so the first waits for the second until the next batch has been
translated; without the second, it was a move out of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from replicator.model import DIRECTORY, FILE, ROOT, Hint, Hinted, is_temporary
from replicator.watch.watchmap import WatchMap

# inotify(7); the numbers are the kernel's ABI (linux/inotify.h).
MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
Q_OVERFLOW = 0x4000
IGNORED = 0x8000
ISDIR = 0x40000000

NAMES = CREATE | DELETE | MOVED_FROM | MOVED_TO
"""Events after which a directory has other names, and another time."""

_ROOT_GONE = DELETE_SELF | MOVE_SELF | UNMOUNT | IGNORED


class Event(NamedTuple):
    """One event of inotify(7); `name` is empty if it concerns the watched directory itself."""

    wd: int
    mask: int
    cookie: int
    name: bytes


class Name(NamedTuple):
    """A name in a watched directory. It stays valid when directories above are renamed, unlike a path."""

    wd: int
    name: bytes


class Half(NamedTuple):
    """The first event of a rename, MOVED_FROM.

    Attributes:
        name: the old name.
        is_directory: whether a directory was renamed.
        child: watch descriptor of the renamed directory; None if it has no watch.
    """

    name: Name
    is_directory: bool
    child: int | None


class Translator:
    """Turns batches of events into hints.

    Args:
        watched: map of watch descriptors to directories; updated after renames and removals.
        prune: called with (path, kind); returns True for excluded paths.
        is_complete: called with the path of a new file; returns True if it needs no further write.

    Attributes:
        hints: translated hints in order; the caller removes them.
        checks: names at which directories may have appeared or vanished; the caller removes them.
        overflowed: True if the kernel dropped events, so that anything may have changed; the caller resets it.
        root_gone: True if the root was moved, removed or unmounted.
        halves: renames of which only MOVED_FROM was read, by cookie.
    """

    def __init__(
        self,
        watched: WatchMap,
        prune: Callable[[bytes, str], bool],
        is_complete: Callable[[bytes], bool],
    ) -> None:
        self._watched = watched
        self._prune = prune
        self._is_complete = is_complete
        self.hints: list[Hint] = []
        self.checks: dict[Name, None] = {}
        self.overflowed = False
        self.root_gone = False
        self.halves: dict[int, Half] = {}
        self._last: tuple[Name, bool, bytes | None] | None = (
            None  # arguments and result of _visible
        )

    def translate(self, events: Iterable[Event]) -> None:
        """Translate one batch of events."""
        self._last = None
        waiting = list(self.halves)
        touched: dict[int, None] = {}
        for event in events:
            if event.mask & Q_OVERFLOW:
                self.overflowed = True
            elif not event.name:
                self._last = None
                self._about_itself(event)
            else:
                if event.mask & NAMES:  # even of an excluded name: it changes the mtime
                    touched[event.wd] = None
                if not is_temporary(event.name):
                    self._about_name(event)
        for cookie in waiting:
            half = self.halves.pop(cookie, None)
            if half is not None:
                self._changed(half.name, is_directory=half.is_directory)
        for wd in touched:
            directory = self._watched.path_of(wd)
            if directory is not None:
                self.tell(Hint(Hinted.CONTENTS, directory))

    def tell(self, hint: Hint) -> None:
        """Append a hint, unless it equals the last one."""
        if not self.hints or self.hints[-1] != hint:
            self.hints.append(hint)

    def _about_itself(self, event: Event) -> None:
        path = self._watched.path_of(event.wd)
        if path == ROOT and event.mask & _ROOT_GONE:
            self.root_gone = True
            self.tell(Hint(Hinted.CHANGED, ROOT))
        if event.mask & IGNORED:
            self._watched.remove(event.wd)
        elif event.mask & ATTRIB and path is not None:
            self.tell(Hint(Hinted.CHANGED, path))

    def _about_name(self, event: Event) -> None:
        name, mask = Name(event.wd, event.name), event.mask
        is_directory = bool(mask & ISDIR)
        if mask & (MOVED_FROM | MOVED_TO):
            self._last = None
        if mask & MOVED_FROM:
            self._moved_from(name, event.cookie, is_directory=is_directory)
        elif mask & MOVED_TO:
            self._moved_to(name, event.cookie, is_directory=is_directory)
        elif mask & CREATE and is_directory:
            self.checks[name] = None
            self._changed(name, is_directory=True)
        else:
            self._about_file(name, mask, is_directory=is_directory)

    def _about_file(self, name: Name, mask: int, *, is_directory: bool) -> None:
        path = self._visible(name, is_directory=is_directory)
        if path is None:
            return
        if mask & (ATTRIB | DELETE):
            self.tell(Hint(Hinted.TOUCHED, path))
        elif mask & CLOSE_WRITE:  # before CREATE: `watch.event_backlog` combines them
            self.tell(Hint(Hinted.CLOSED, path))
        elif mask & MODIFY:
            self.tell(Hint(Hinted.WRITTEN, path))
        elif mask & CREATE:
            kind = Hinted.CHANGED if self._is_complete(path) else Hinted.WRITTEN
            self.tell(Hint(kind, path))

    def _moved_from(self, name: Name, cookie: int, *, is_directory: bool) -> None:
        child = self._watched.child(*name) if is_directory else None
        if child is not None:
            self._watched.detach(child)
        self.halves[cookie] = Half(name, is_directory, child)

    def _moved_to(self, name: Name, cookie: int, *, is_directory: bool) -> None:
        half = self.halves.pop(cookie, None)
        target = self._visible(name, is_directory=is_directory)
        if half is None:
            self._changed(name, is_directory=is_directory)
        else:
            source = self._visible(half.name, is_directory=is_directory)
            if target is not None and half.child is not None:
                self._replace(half.child, name)
            self._moved(source, target, is_directory=is_directory)
            if is_directory:  # renameat2(RENAME_EXCHANGE) leaves another directory there
                self.checks[half.name] = None
        if is_directory:
            self.checks[name] = None

    def _replace(self, wd: int, name: Name) -> None:
        if wd in self._watched.detached:  # else it was removed or placed elsewhere since
            self._watched.place(wd, *name)

    def _moved(self, source: bytes | None, target: bytes | None, *, is_directory: bool) -> None:
        if source is not None and target is not None:
            self.tell(Hint(Hinted.MOVED, source, target, is_directory))
            return
        for path in (source, target):  # one is None if it moved into or out of the tree
            if path is not None:
                self.tell(Hint(Hinted.CHANGED, path))

    def _changed(self, name: Name, *, is_directory: bool) -> None:
        path = self._visible(name, is_directory=is_directory)
        if path is not None:
            self.tell(Hint(Hinted.CHANGED, path))

    def _visible(self, name: Name, *, is_directory: bool) -> bytes | None:
        """Return the path of a name; None if its directory has no path any more, or the path is excluded.

        An upload causes three events in a row, so the last result is kept until a directory changes its place.
        """
        if self._last is not None and self._last[:2] == (name, is_directory):
            return self._last[2]
        path = self._watched.locate(*name)
        if path is not None and self._prune(path, DIRECTORY if is_directory else FILE):
            path = None
        self._last = name, is_directory, path
        return path
