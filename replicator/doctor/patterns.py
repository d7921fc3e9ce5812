"""Find patterns of `tree.exclude` that are valid, but do not do what their author probably expects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from replicator.config import TreeSettings
from replicator.core.filters import Filter
from replicator.model import DIRECTORY
from replicator.presets import load

MOST_DIRECTORIES = 20_000
"""Limit of directories to search, so that a huge tree does not take minutes."""

_NOBODY_WRITES = ("node_modules",)
_INSIDE = re.compile(r"/\*+$")
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
        elif part := _impossible_part(body.removeprefix("!")):
            reason = f"no path of the source has a component that is {part}"
        elif not body.startswith("!"):
            excludes_any = True
            reason = _elsewhere(body, settings.source)
        elif not excludes_any:
            reason = "it re-includes what an earlier pattern excludes, but no earlier pattern excludes anything"
        else:
            above = next((p for p in _above(body[1:]) if excluded(os.fsencode(p), DIRECTORY)), "")
            if above:
                reason = f"the directory {above} is excluded, and nothing below it can be re-included: exclude /{above}/* instead"
        if reason:
            yield pattern, reason


def missing_directories(settings: TreeSettings) -> Iterator[tuple[str, str]]:
    """Yield each pattern that excludes a directory itself, with one such directory of the source.

    The directory is then missing on every frontend that does not create it by itself, and a program that writes into it fails
    there (OpenCart answers 500 without `image/cache`). Hidden directories and node_modules are skipped: no PHP program writes
    into them.
    """
    judge = Filter(settings.exclude).excluded
    single = {pattern: Filter([pattern]) for pattern in settings.exclude if pattern.strip()}
    for seen, (directory, names, _) in enumerate(os.walk(os.fsencode(settings.source))):
        if seen >= MOST_DIRECTORIES or not single:
            return
        below = os.path.relpath(directory, os.fsencode(settings.source))
        replicated = []
        for name in names:
            path = name if below == b"." else os.path.join(below, name)
            if not judge(path, DIRECTORY):
                replicated.append(name)
            elif not name.startswith(b".") and os.fsdecode(name) not in _NOBODY_WRITES:
                for pattern in [p for p, one in single.items() if one.excluded(path, DIRECTORY)]:
                    del single[pattern]
                    if not _INSIDE.search(pattern.rstrip()):
                        yield pattern, os.fsdecode(path)
        names[:] = replicated


def misplaced_preset(settings: TreeSettings) -> str:
    """Return why the exclude patterns of `tree.preset` match nothing; empty if they may match."""
    if not settings.preset:
        return ""
    firsts = {pattern.split("/")[1] for pattern in load(settings.preset).excludes}
    if any(os.path.lexists(os.path.join(settings.source, first)) for first in firsts):
        return ""
    return f"its patterns are relative to the directory of {load(settings.preset).title}, but the source holds none of {', '.join(sorted(firsts))}"


def _impossible_part(body: str) -> str:
    """Return a component of a pattern that no path has, such as the first one of `./cache`, in words; empty if there is none."""
    for part in body.removeprefix("/").removesuffix("/").split("/"):
        if part in ("", ".", ".."):
            return part or "empty"
    return ""


def _elsewhere(body: str, source: str) -> str:
    """Return why a pattern matches nothing that is probably meant as an absolute path; empty if it is not."""
    first, _, rest = body.removeprefix("/").partition("/")
    if not body.startswith("/") or not rest.strip("/") or not first or _WILD.search(first):
        return ""
    if os.path.lexists(os.path.join(source, first)) or not os.path.lexists("/" + first):
        return ""
    below = source.rstrip("/") + "/"
    write = f": write /{body.removeprefix(below)}" if body.startswith(below) else ""
    return f"patterns are relative to the source, which holds no {first}{write}"


def _above(body: str) -> Iterator[str]:
    """Yield the parent directories of a pattern, from the top down to the first one with a wildcard."""
    parts = body.strip("/").split("/")
    for number in range(1, len(parts)):
        if _WILD.search(parts[number - 1]):
            return
        yield "/".join(parts[:number])
