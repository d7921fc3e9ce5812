"""Events that wait for their translation while more arrive than can be translated at once.

`rm -r` and `chmod -R` cause 100,000 events per second, of which 40,000 can be translated. In the order of the kernel an upload would
wait behind all of them. So only events about directories keep their order, because they change the paths of later events. All others
are hints that a name may differ: one for each name is kept, and they are taken in another order. Events with new content go before
attributes and deletions; of those, half are taken from the directories with the fewest, the newest first, and half in the order in
which they came, as in `core.backlog`.

A directory that no longer exists takes along the events about its names: the check of its own name finds all of them missing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from replicator.watch.translate import (
    ATTRIB,
    CREATE,
    DELETE,
    IGNORED,
    ISDIR,
    MOVED_FROM,
    NAMES,
    Event,
)

MOST = 100_000
"""Names that may wait, about 20 MB; beyond it, one scan of the tree replaces them."""

KEPT = 2000
"""Names with new content that are kept then, the newest: the scan would reach them late."""

LOOKED_AT = 1000
"""Directories, the latest ones, of which those with the fewest names are looked for: 0.2 ms for each `take`."""

_Names = OrderedDict[int, dict[bytes, int]]
"""Masks by watch descriptor and name. Finding the first key of a plain dict skips the slots of all removed ones."""


class EventBacklog:
    """The events. `add` takes 1 us.

    Attributes:
        forgot: True after names were forgotten, so that the tree must be scanned; the caller resets it.
    """

    def __init__(self) -> None:
        self.forgot = False
        self._ordered: deque[Event] = deque()
        self._content: _Names = OrderedDict()
        self._rest: _Names = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return len(self._ordered) + self._count

    def add(self, wd: int, mask: int, cookie: int, name: bytes) -> None:
        """Add an event; for the arguments see `Event`."""
        if not name or (mask & ISDIR and not mask & ATTRIB):
            if mask & IGNORED:
                self._count -= len(self._content.pop(wd, ())) + len(self._rest.pop(wd, ()))
            self._ordered.append(Event(wd, mask, cookie, name))
            return
        before = self._pop(self._content, wd, name) or self._pop(self._rest, wd, name)
        if mask & MOVED_FROM:
            mask = DELETE
        elif mask & ATTRIB and before & ~(ATTRIB | DELETE | ISDIR):
            mask = before
        elif before & NAMES and not mask & NAMES:
            mask |= CREATE  # the directory has another time
        names = self._rest if mask & (ATTRIB | DELETE) else self._content
        group = names.get(wd)
        if group is None:
            group = names[wd] = {}
        group[name] = mask
        self._count += 1
        if self._count > MOST:
            self._forget()

    def take(self, limit: int) -> list[Event]:
        """Remove and return at most `limit` events."""
        taken = [self._ordered.popleft() for _ in range(min(limit, len(self._ordered)))]
        content = limit - limit // 4 if self._rest else limit
        taken += self._take_newest((content - len(taken)) // 2)
        taken += self._take_oldest(self._content, content - len(taken))
        return taken + self._take_oldest(self._rest, limit - len(taken))

    def _pop(self, names: _Names, wd: int, name: bytes) -> int:
        group = names.get(wd)
        mask = group.pop(name, 0) if group else 0
        if mask:
            self._count -= 1
            if not group:
                del names[wd]
        return mask

    def _take_newest(self, limit: int) -> list[Event]:
        """Take new contents from the directories with the fewest, the newest first."""
        taken: list[Event] = []
        latest = list(islice(reversed(self._content), LOOKED_AT)) if limit > 0 else []
        for wd in sorted(latest, key=lambda wd: len(self._content[wd])):
            group = self._content[wd]
            while group and len(taken) < limit:
                name, mask = group.popitem()
                taken.append(Event(wd, mask, 0, name))
            if not group:
                del self._content[wd]
            if len(taken) == limit:
                break
        self._count -= len(taken)
        return taken

    def _take_oldest(self, names: _Names, limit: int) -> list[Event]:
        taken: list[Event] = []
        while names and len(taken) < limit:
            wd, group = next(iter(names.items()))
            some = list(islice(group.items(), limit - len(taken)))
            taken += [Event(wd, mask, 0, name) for name, mask in some]
            for name, _ in some:
                del group[name]
            if not group:
                del names[wd]
        self._count -= len(taken)
        return taken

    def _forget(self) -> None:
        """Forget the names, except the newest with new content."""
        newest = (
            (wd, name, mask)
            for wd, group in reversed(self._content.items())
            for name, mask in reversed(group.items())
        )
        kept = list(islice(newest, KEPT))
        self._content, self._rest = OrderedDict(), OrderedDict()
        for wd, name, mask in reversed(kept):
            self._content.setdefault(wd, {})[name] = mask
        self._count = len(kept)
        self.forgot = True
