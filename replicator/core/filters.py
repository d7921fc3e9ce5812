"""Paths that the operator excludes, by gitignore patterns with git's semantics.

For each path, from the top down, git finds the last pattern that matches the path itself, and stops at the first excluded directory:
a path below it cannot be re-included. pathspec translates a pattern into a regular expression that also matches everything
below a match, in a capturing group. Those matches are ignored here, because the parent directories were already tested.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from replicator.errors import ConfigError
from replicator.model import DIRECTORY

CACHED_DIRECTORIES = 4096
"""Directories whose result is cached: about 1 MB, and more than any walk has open."""


class Filter:
    """Decides which paths are excluded. Thread-safe.

    Args:
        patterns: lines of a .gitignore file at the tree's root.
        reserved: paths that are always excluded, with everything below them.

    Raises:
        ConfigError: if a pattern is malformed and would match nothing.
    """

    def __init__(self, patterns: Sequence[str], reserved: Collection[bytes] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._below_reserved = tuple(path + b"/" for path in reserved)
        rules = [rule for rule in map(_Rule.parse, patterns) if rule is not None]
        self._rules = rules[::-1]  # the last match decides
        self._directory = lru_cache(CACHED_DIRECTORIES)(self._match_directory)

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True if `path`, of this (present or former) kind, or a directory above it is excluded."""
        if path in self._reserved or path.startswith(self._below_reserved):
            return True
        if not self._rules or not path:
            return False
        end = path.find(b"/")
        while end >= 0:
            if self._directory(path[:end]):
                return True
            end = path.find(b"/", end + 1)
        return self._directory(path) if kind == DIRECTORY else self._match(path, directory=False)

    def _match_directory(self, path: bytes) -> bool:
        return self._match(path, directory=True)

    def _match(self, path: bytes, *, directory: bool) -> bool:
        text = _text(path.decode("utf-8", "surrogateescape"))
        for rule in self._rules:
            if rule.matches(text, directory=directory):
                return rule.excludes
        return False


class _Rule:
    """One pattern."""

    __slots__ = ("_directory_only", "_search", "excludes")

    def __init__(self, regex: re.Pattern[str], *, excludes: bool, directory_only: bool) -> None:
        self._search = regex.search
        self._directory_only = directory_only
        self.excludes = excludes

    @classmethod
    def parse(cls, line: str) -> _Rule | None:
        """Return the rule of one line; None for a blank line or a comment.

        As in git, the trailing slash of a pattern that matches only directories is removed before the translation.

        Raises:
            ConfigError: if the line is malformed.
        """
        bare = line if line.endswith("\\ ") else line.rstrip()
        if not bare or bare.startswith("#"):
            return None
        try:
            pattern = GitIgnoreSpecPattern(_text(bare.removesuffix("/")))
        except (ValueError, re.error) as error:
            raise ConfigError("exclude", f"not a gitignore pattern: {line!r}: {error}") from error
        if pattern.include is None or pattern.regex is None:  # git ignores an unclosed bracket
            raise ConfigError("exclude", f"this pattern would match nothing: {line!r}")
        return cls(pattern.regex, excludes=pattern.include, directory_only=bare.endswith("/"))

    def matches(self, text: str, *, directory: bool) -> bool:
        """Return True if the pattern matches the path itself, not only a directory above it."""
        if self._directory_only and not directory:
            return False
        match = self._search(text)
        return match is not None and match.lastindex is None


def _text(text: str) -> str:
    """Replace newlines by NUL, which no path contains: `.` and `$` of a regular expression treat a newline specially."""
    return text.replace("\n", "\0")
