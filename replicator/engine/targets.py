"""Which directory each target is, on each frontend: kept across connections and restarts.

A target is known by its identity, as its agent tells it. Where a user who is not trusted there could have put another directory in
its place, another one is used only after `resume`, which believes the directory that was named, and no later one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from replicator.model import printable
from replicator.wire.messages import Opened

MAX_TARGETS = 100_000
"""Targets that are remembered; the oldest go first. A fleet of a hundred frontends with ten trees is replaced a hundred times."""


class Targets:
    """Remembers targets. `save` may be called from any thread.

    Args:
        known: what was saved: "machine root" to the directory's identity.
        write: saves it.
    """

    def __init__(
        self,
        known: Mapping[str, str] | None = None,
        write: Callable[[dict[str, str]], None] = lambda _: None,
    ) -> None:
        self.is_saved = True
        self._known = dict(known or {})
        self._refused: dict[str, tuple[str, str, str]] = {}
        self._write = write
        self._saving = threading.Lock()

    def refusal(self, machine: str, root: bytes, opened: Opened) -> str:
        """Return why a target must not be used as it was opened; empty if it may be, and then it is remembered.

        Args:
            machine: the frontend.
            root: the target's path.
            opened: what its agent says; an agent of an earlier release tells no identity, and is believed.
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

    def believe(self) -> dict[str, str]:
        """A person says that the refused targets are right as they are; return machine to the reason."""
        refused, self._refused = self._refused, {}
        for key, (_, identity, _) in refused.items():
            self._note(key, identity)
        return {machine: reason for machine, _, reason in refused.values()}

    def save(self) -> None:
        """Save what is known; blocks."""
        with self._saving:
            self.is_saved = True
            self._write(self._known.copy())

    def _note(self, key: str, identity: str) -> None:
        self._known.pop(key, None)
        self._known[key] = identity
        if len(self._known) > MAX_TARGETS:
            del self._known[next(iter(self._known))]
        self.is_saved = False
