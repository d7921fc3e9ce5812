"""Check the source of a tree: whether it can be read, and what its patterns do."""

from __future__ import annotations

import os
from collections.abc import Iterator

from replicator import app
from replicator.config import TreeSettings
from replicator.core.filters import Filter
from replicator.doctor.finding import Finding
from replicator.doctor.host import name_of
from replicator.doctor.patterns import idle_patterns, misplaced_preset, missing_directories
from replicator.errors import ConfigError, SourceError
from replicator.model import DIRECTORY, ROOT, Unlisted, printable
from replicator.source.tree import SourceTree


def tree_findings(settings: TreeSettings) -> tuple[list[Finding], int]:
    """Check a source; return the findings and the number of its directories."""
    subject = f"tree {settings.source}"
    try:
        source = SourceTree(
            os.fsencode(settings.source),
            filter=Filter(settings.exclude),
            multiplier=1,
            symlinks=settings.symlinks,
            trusted=app.trusted_users(f"{subject}, trust", settings),
        )
    except (SourceError, ConfigError) as error:
        return [Finding("fail", subject, str(error), "its files are not replicated")], 0
    files = directories = size = 0
    unlisted: list[Unlisted] = []
    for seen in source.walk(ROOT):
        if isinstance(seen, Unlisted):
            unlisted.append(seen)
        else:
            directories += seen.entry.kind == DIRECTORY
            files += seen.entry.kind != DIRECTORY
            size += seen.entry.size
    findings = [
        Finding(
            "ok",
            subject,
            f"{files} files, {directories} directories, {size / 1e6:.1f} MB -> {settings.target}",
        )
    ]
    findings += _examine_way(subject, source.exposed)
    findings += [
        Finding("warn", subject, f"the pattern {pattern!r} has no effect: {reason}", "paths that it should exclude are replicated, or the reverse")
        for pattern, reason in idle_patterns(settings)
    ]  # fmt: skip
    findings += _examine_excludes(subject, settings)
    findings += [
        Finding(
            "warn", f"{subject}/{printable(path)}", reason, "paths below it are neither sent nor deleted",
            f"setfacl -R -m u:{name_of(os.geteuid())}:rX {settings.source}",
        )
        for path, reason in unlisted[:10]
    ]  # fmt: skip
    return findings, directories + 1


def _examine_excludes(subject: str, settings: TreeSettings) -> Iterator[Finding]:
    for pattern, directory in missing_directories(settings):
        shown = printable(os.fsencode(directory))
        yield Finding(
            "warn", subject, f"the pattern {pattern!r} excludes the directory {shown} itself: it is missing on frontends that do not create it",
            "a program that writes into it fails there",
            f'exclude its content: "/{shown}/*" instead of "{pattern}"',
        )  # fmt: skip
    if reason := misplaced_preset(settings):
        yield Finding(
            "warn", subject, f"preset {settings.preset} has no effect: {reason}",
            "files that each host writes by itself are replicated, or removed from the frontends",
            "set tree.source to that directory, or write the patterns into tree.exclude",
        )  # fmt: skip


def _examine_way(subject: str, exposed: str) -> Iterator[Finding]:
    if exposed:
        what, _, fix = exposed.rpartition(": ")
        yield Finding(
            "warn", subject, what,
            "no symlink is followed there, and another directory in the source's place is read only after `replicator resume`",
            f"{fix}  (or name that user in tree.trust)",
        )  # fmt: skip
