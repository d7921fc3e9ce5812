"""List a directory while it changes: entries that vanish meanwhile are skipped, and temporaries are ignored."""

import os
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from replicator.model import is_temporary


def below(directory, pattern="*"):
    """Return all paths below a directory whose name matches. Unlike `Path.rglob` it tolerates directories that vanish."""
    found = []
    for above, directories, files in os.walk(directory):
        found += [Path(above, name) for name in directories + files if fnmatch(name, pattern)]
    return found


def temporaries_below(directory):
    """Return replicator's temporary files below a directory."""
    return [path for path in below(directory, ".*") if is_temporary(os.fsencode(path.name))]


def texts(directory):
    """Return the content of all files below a directory by relative path, without temporaries."""
    found = _each(directory, lambda path: path.read_text() if path.is_file() else None)
    return {name: text for name, text in found.items() if text is not None}


def statuses(directory):
    """Return `lstat` of all entries below a directory by relative path, without temporaries."""
    return _each(directory, Path.lstat)


def _each(directory, look):
    found = {}
    for path in below(directory):
        with suppress(FileNotFoundError, NotADirectoryError):
            if not is_temporary(os.fsencode(path.name)):
                found[str(path.relative_to(directory))] = look(path)
    return found
