"""Patterns of `tree.exclude` that do not do what their writer expects: each is valid, and has no effect."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from replicator.config import TreeSettings
from replicator.core.filters import Filter
from replicator.model import DIRECTORY

_WILD = re.compile(r"[*?\[\\]")


def idle_patterns(settings: TreeSettings) -> Iterator[tuple[str, str]]:
    """Yield each pattern that has no effect, with the reason."""
    excluded = Filter(settings.exclude).excluded
    excludes_any = False
    for pattern in settings.exclude:
        body = pattern.rstrip()
        reason = ""
        if not body or body.startswith("#"):
            reason = "it is a blank line or a comment: a name that begins with # is written \\#"
        elif not body.startswith("!"):
            excludes_any = True
            reason = _elsewhere(body, settings.source)
        elif not excludes_any:
            reason = "it brings back what an earlier pattern excludes, and there is none"
        else:
            above = next((p for p in _above(body[1:]) if excluded(os.fsencode(p), DIRECTORY)), "")
            if above:
                reason = f"the directory {above} is excluded, and nothing below it can be brought back: exclude /{above}/* instead"
        if reason:
            yield pattern, reason


def _elsewhere(body: str, source: str) -> str:
    """Return why a pattern that was meant as an absolute path matches nothing; empty if it was not."""
    first, _, rest = body.removeprefix("/").partition("/")
    if not body.startswith("/") or not rest.strip("/") or not first or _WILD.search(first):
        return ""
    if os.path.lexists(os.path.join(source, first)) or not os.path.lexists("/" + first):
        return ""
    below = source.rstrip("/") + "/"
    write = f": write /{body.removeprefix(below)}" if body.startswith(below) else ""
    return f"patterns are relative to the source, in which there is no {first}{write}"


def _above(body: str) -> Iterator[str]:
    """Yield the directories above what a pattern names, as far as they are names without wildcards."""
    parts = body.strip("/").split("/")
    for number in range(1, len(parts)):
        if _WILD.search(parts[number - 1]):
            return
        yield "/".join(parts[:number])
