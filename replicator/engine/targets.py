"""The identity of each target directory on each frontend, kept across connections and restarts.

The agent reports a target's identity when it opens it. If an untrusted user of the frontend could have put another directory in its place,
a target with another identity is refused until `replicator resume`, which accepts the directory that was refused, but no later one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from itertools import product

from replicator.model import printable
from replicator.wire.messages import Opened

MAX_TARGETS = 100_000
"""Targets that are kept; the oldest are dropped first. Enough for a fleet of a hundred frontends with ten trees that is replaced a hundred times."""


class Targets:
    """The known targets. `save` may be called from any thread.

    Args:
        known: what was saved: the directory's identity by "machine root".
        write: saves the known targets.

    Attributes:
        is_saved: True if nothing has changed since the last `save`.
    """

    def __init__(
        self,
        known: Mapping[str, str] | None = None,
        write: Callable[[dict[str, str]], None] = lambda _: None,
    ) -> None:
        self.is_saved = True
        self._known = dict(known or {})
        self._earlier = frozenset(key.partition(" ")[0] for key in self._known)
        self._refused: dict[str, tuple[str, str, str]] = {}
        self._write = write
        self._saving = threading.Lock()

    def was_known(self, machine: str) -> bool:
        """Return True if a frontend was connected in an earlier run of the daemon."""
        return machine in self._earlier

    def refusal(self, machine: str, root: bytes, opened: Opened) -> str:
        """Return why a target must not be used; empty if it may be used, and then its identity is recorded.

        Args:
            machine: the frontend.
            root: the target's path.
            opened: the answer of its agent; an agent of an earlier release sends no identity, and its target is accepted.
        """
        key = f"{machine} {printable(root)}"
        known = self._known.get(key)
        self._refused.pop(key, None)
        if opened.identity and opened.doubt and known not in (None, opened.identity):
            reason = (
                f"the target {printable(root)} is another directory than before, and is not used, because {opened.doubt}."
                " If it is the right one: `replicator resume`"
            )
            self._refused[key] = machine, opened.identity, reason
            return reason
        if opened.identity and known != opened.identity:
            self._note(key, opened.identity)
        return ""

    def accept_refused(self, machines: Collection[str], roots: Collection[bytes]) -> dict[str, str]:
        """Accept the targets of these frontends with these paths that were refused; return the reason of each refusal by machine."""
        accepted: dict[str, str] = {}
        for machine, root in product(machines, roots):
            key = f"{machine} {printable(root)}"
            if (refused := self._refused.pop(key, None)) is not None:
                _, identity, accepted[machine] = refused
                self._note(key, identity)
        return accepted

    def save(self) -> None:
        """Save the known targets. Blocks."""
        with self._saving:
            self.is_saved = True
            self._write(self._known.copy())

    def _note(self, key: str, identity: str) -> None:
        self._known.pop(key, None)
        self._known[key] = identity
        if len(self._known) > MAX_TARGETS:
            del self._known[next(iter(self._known))]
        self.is_saved = False
